from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from staterail.accounts import keyring
from staterail.accounts.models import Secret
from staterail.accounts.secrets import secret_values, set_secret
from staterail.accounts.tests.factories import ActorFactory, TenantFactory
from staterail.core.actor import Role
from staterail.core.errors import Forbidden, ValidationFailed

AAD = b"tenant|NAME|1"


def test_what_is_encrypted_is_read_back_with_the_same_aad_only():
    key_id, ciphertext = keyring.encrypt("grüße", AAD)
    assert "grüße".encode() not in ciphertext
    assert keyring.decrypt(key_id, ciphertext, AAD) == "grüße"
    with pytest.raises(keyring.Unreadable):
        keyring.decrypt(key_id, ciphertext, b"tenant|NAME|2")
    with pytest.raises(keyring.Unreadable):
        keyring.decrypt(key_id, ciphertext[:-1] + bytes([ciphertext[-1] ^ 1]), AAD)


def test_two_encryptions_of_one_value_differ():
    assert keyring.encrypt("same", AAD) != keyring.encrypt("same", AAD)


def test_the_newest_key_writes_and_older_ones_still_read(settings):
    settings.STATERAIL_SECRET_KEYS = "old"
    old_id, old = keyring.encrypt("value", AAD)
    settings.STATERAIL_SECRET_KEYS = "new, old"
    new_id, _ = keyring.encrypt("value", AAD)
    assert new_id != old_id
    assert keyring.decrypt(old_id, old, AAD) == "value"

    settings.STATERAIL_SECRET_KEYS = "new"
    with pytest.raises(keyring.Unreadable, match="not on the ring"):
        keyring.decrypt(old_id, old, AAD)


@pytest.mark.django_db
def test_values_come_in_one_query_and_only_those_of_the_tenant(django_assert_num_queries):
    ours, theirs = TenantFactory(), TenantFactory()
    set_secret(actor=ActorFactory(tenant=ours), name="PAY_TOKEN", value="one")
    set_secret(actor=ActorFactory(tenant=ours), name="OTHER", value="two")
    set_secret(actor=ActorFactory(tenant=theirs), name="PAY_TOKEN", value="foreign")
    with django_assert_num_queries(1):
        assert secret_values(ours.id, ["PAY_TOKEN", "OTHER", "MISSING"]) == {"PAY_TOKEN": "one", "OTHER": "two"}


@pytest.mark.django_db
def test_a_new_value_takes_the_place_of_the_old_as_the_next_version():
    ours = TenantFactory()
    for value in ("one", "two"):
        set_secret(actor=ActorFactory(tenant=ours), name="KEY", value=value)
    secret = Secret.objects.get(tenant=ours)
    assert (secret.version, secret.updated_by, secret_values(ours.id, ["KEY"])) == (2, "someone", {"KEY": "two"})
    assert b"two" not in bytes(secret.ciphertext)


@pytest.mark.django_db
def test_a_ciphertext_moved_to_another_row_is_not_read(caplog):
    ours = TenantFactory()
    for name in ("LOW", "HIGH"):
        set_secret(actor=ActorFactory(tenant=ours), name=name, value=name.lower())
    high = Secret.objects.get(name="HIGH")
    Secret.objects.filter(name="LOW").update(ciphertext=high.ciphertext, key_id=high.key_id)
    assert secret_values(ours.id, ["LOW", "HIGH"]) == {"HIGH": "high"}
    assert "LOW" in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "1A", "A-B", "A\n", "A" * 65, "Ä"])
def test_a_name_that_no_template_could_write_is_refused(name):
    with pytest.raises(ValidationFailed):
        set_secret(actor=ActorFactory(), name=name, value="x")
    assert not Secret.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["", "ä" * 32_769, "\udcff"])
def test_a_value_is_utf8_of_at_most_64_kib(value):
    with pytest.raises(ValidationFailed):
        set_secret(actor=ActorFactory(), name="A", value=value)
    assert not Secret.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.EDITOR])
def test_only_an_administrator_stores_secrets(role):
    with pytest.raises(Forbidden, match=r"accounts\.change_secret"):
        set_secret(actor=ActorFactory(role=role), name="A", value="x")
    assert not Secret.objects.exists()


def rotated():
    out = StringIO()
    call_command("rotate_secrets", stdout=out)
    return out.getvalue().strip()


@pytest.mark.django_db
def test_after_a_rotation_the_old_key_can_go(settings):
    settings.STATERAIL_SECRET_KEYS = "old"
    tenants = TenantFactory(), TenantFactory()
    for tenant in tenants:
        set_secret(actor=ActorFactory(tenant=tenant), name="KEY", value=tenant.slug)
    before = list(Secret.objects.order_by("id").values("id", "version", "updated_at", "updated_by"))
    settings.STATERAIL_SECRET_KEYS = "new,old"
    set_secret(actor=ActorFactory(tenant=tenants[0]), name="NEW", value="x")

    assert rotated() == "2 secrets encrypted anew."
    assert rotated() == "0 secrets encrypted anew."

    settings.STATERAIL_SECRET_KEYS = "new"
    assert [secret_values(tenant.id, ["KEY"]) for tenant in tenants] == [{"KEY": tenant.slug} for tenant in tenants]
    after = Secret.objects.filter(name="KEY").order_by("id").values("id", "version", "updated_at", "updated_by")
    assert list(after) == before


@pytest.mark.django_db
def test_a_rotation_names_what_it_cannot_read_and_leaves_it(settings):
    tenant = TenantFactory()
    for key, name in (("lost", "A"), ("old", "B")):
        settings.STATERAIL_SECRET_KEYS = key
        set_secret(actor=ActorFactory(tenant=tenant), name=name, value=name)
    lost = Secret.objects.get(name="A")
    settings.STATERAIL_SECRET_KEYS = "new,old"

    with pytest.raises(CommandError, match=f"No key of the ring reads {tenant.slug}/A:"):
        rotated()

    assert Secret.objects.get(name="A").ciphertext == lost.ciphertext
    settings.STATERAIL_SECRET_KEYS = "new,lost"
    assert secret_values(tenant.id, ["A", "B"]) == {"A": "A", "B": "B"}


@pytest.mark.django_db
def test_without_a_key_nothing_is_rotated(settings):
    settings.STATERAIL_SECRET_KEYS = ""
    with pytest.raises(CommandError, match="STATERAIL_SECRET_KEYS is empty"):
        rotated()
