import pytest

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
