"""Who may come in, and what they may hold: tenants, members, API tokens, secrets."""

from django.contrib.auth.models import AbstractUser
from django.db import models

from staterail.core.actor import Role
from staterail.core.ids import uuid7
from staterail.core.json_column import JSONColumn

ROLES = [(role.value, role.value) for role in Role]


class User(AbstractUser):
    """A person who signs in. What they may do is their Membership's role, tenant by tenant."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)


class Tenant(models.Model):
    """One customer's world. Every row that belongs to it carries its id."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    """A user's role in a tenant."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=ROLES)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="one_membership_per_user"),
            models.CheckConstraint(condition=models.Q(role__in=list(Role)), name="membership_role"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} of {self.tenant_id}"


class ApiToken(models.Model):
    """`srt_<prefix>_<random>`: shown once; only the prefix and a SHA-256 of the whole are kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="+")  # null: made by the command line
    name = models.CharField(max_length=200)
    prefix = models.CharField(max_length=8, unique=True)
    digest = models.CharField(max_length=64)  # SHA-256, hex: the token has 256 random bits, so no slow hash
    role = models.CharField(max_length=16, choices=ROLES)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)  # written at most once a minute
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(role__in=list(Role)), name="token_role")]

    def __str__(self) -> str:
        return f"{self.name} (srt_{self.prefix}_…)"


class Secret(models.Model):
    """A value that steps may use and nobody may read: AES-256-GCM under a key of the key ring."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    name = models.CharField(max_length=64)
    version = models.PositiveIntegerField(default=1)
    ciphertext = models.BinaryField()  # nonce (12 bytes), then ciphertext and tag
    key_id = models.CharField(max_length=16)
    updated_at = models.DateTimeField(auto_now=True)
    updated_by = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="one_secret_per_name")]

    def __str__(self) -> str:
        return self.name


class IdempotencyRecord(models.Model):
    """The answer that a command's idempotency key got, kept for 24 hours.

    Written in the command's own transaction, after its effect. Runs keep their key themselves,
    for ever (`WorkflowRun.idempotency_key`).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    operation = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    response = JSONColumn()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "operation", "key"], name="one_answer_per_key")]
        indexes = [models.Index(fields=["created_at"], name="answer_by_age")]

    def __str__(self) -> str:
        return f"{self.operation} {self.key}"
