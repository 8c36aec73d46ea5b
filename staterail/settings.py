"""One settings module: environments differ by variables, and the defaults are embedded mode's.

DATABASE_URL and REDIS_URL make it a server; without them everything lives in the data folder.
docs/settings.md lists every variable.
"""

from pathlib import Path
from typing import Any

import dj_database_url
from environs import Env

from runs.machine.states import RunState, StepState
from staterail.core.kept import kept

env = Env()

BASE_DIR = Path(__file__).resolve().parent.parent
STATERAIL_DATA = Path(env.str("STATERAIL_DATA", "") or BASE_DIR / ".staterail").expanduser().resolve()
STATERAIL_PORT = env.int("STATERAIL_PORT", 8000)
STATERAIL_HTTP_ALLOW: list[str] = env.list(
    "STATERAIL_HTTP_ALLOW", []
)  # host:port or CIDR that HttpCall may reach although private
STATERAIL_THREADS = env.int("STATERAIL_THREADS", 64)  # of the executor pool
STATERAIL_SCRIPT_ISOLATION = env.str("STATERAIL_SCRIPT_ISOLATION", "best")  # strict: no Script where a wall is missing
STATERAIL_SCRIPT_PROCESSES = env.int("STATERAIL_SCRIPT_PROCESSES", 0)  # 0: one for each core
STATERAIL_WRITES_PER_SECOND = env.float("STATERAIL_WRITES_PER_SECOND", 100.0)  # of one token; a batch is one, 0: any
STATERAIL_ISOLATED_MEMORY_MB = env.int("STATERAIL_ISOLATED_MEMORY_MB", 2048)  # of a child of a `tasks` worker; 0: any
DATABASE_URL = env.str("DATABASE_URL", "")
REDIS_URL = env.str("REDIS_URL", "")
EMBEDDED = not DATABASE_URL

DEBUG = env.bool("STATERAIL_DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "") or (kept(STATERAIL_DATA, "secret-key") if EMBEDDED else "")
STATERAIL_SECRET_KEYS = env.str("STATERAIL_SECRET_KEYS", "") or (
    kept(STATERAIL_DATA, "secret-key-ring") if EMBEDDED else ""
)  # comma-separated, newest first
ALLOWED_HOSTS = env.list("STATERAIL_HOSTS", ["localhost", "127.0.0.1", "[::1]"])

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "guardian",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "staterail.apps.StateRailConfig",
    "staterail.core.apps.CoreConfig",
    "staterail.accounts.apps.AccountsConfig",
    "workflows",
    "runs",
    "analytics",
    "alerts",
]
if env.bool("STATERAIL_TEST_TASKS", False):
    INSTALLED_APPS.append("staterail.testing")
INSTALLED_APPS += env.list("STATERAIL_APPS", [])  # a project's own, whose staterail_tasks.py holds its tasks
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "staterail.core.middleware.limits_and_headers",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "staterail.urls"
ASGI_APPLICATION = "staterail.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

SQLITE: dict[str, Any] = {
    "ENGINE": "staterail.core.sqlite",
    "NAME": str(STATERAIL_DATA / "staterail.sqlite3"),
    "CONN_MAX_AGE": None,
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",  # else "database is locked" in 40 % of concurrent writes
        "timeout": 20,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
            "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000; PRAGMA wal_autocheckpoint=4000"
        ),
    },
    "TEST": {"NAME": str(STATERAIL_DATA / "test.sqlite3")},  # a file: threads share it, as in life
}
DATABASES: dict[str, dict[str, Any]] = {
    "default": SQLITE
    if EMBEDDED
    else dict(dj_database_url.parse(DATABASE_URL, conn_max_age=600, conn_health_checks=True))
}
if not EMBEDDED:
    # Just-in-time compilation of a batch would cost more than the batch
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("options", "-c jit=off")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "guardian.backends.ObjectPermissionBackend"]
ANONYMOUS_USER_NAME = None  # guardian: nobody acts anonymously
GUARDIAN_MONKEY_PATCH_USER = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

# Behind TLS everything is strict; embedded mode speaks plain HTTP to this machine only.
SECURE = env.bool("STATERAIL_TLS", not EMBEDDED)
SECURE_SSL_REDIRECT = SECURE
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = SECURE
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("STATERAIL_BEHIND_PROXY", False) else None
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_NAME = "__Host-staterail" if SECURE else "staterail"
SESSION_COOKIE_SECURE = SECURE
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600  # without a request
SESSION_ENGINE = "staterail.accounts.sessions"  # over in any case a week after the sign-in
CSRF_COOKIE_NAME = "__Host-csrf" if SECURE else "csrftoken"
CSRF_COOKIE_SECURE = SECURE
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "staterail.core.rest.csrf_failure"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
USE_I18N = False
STATIC_URL = "static/"
STATIC_ROOT = STATERAIL_DATA / "static"
WHITENOISE_USE_FINDERS = EMBEDDED  # no collectstatic before `manage.py up`
if EMBEDDED:
    STATIC_ROOT.mkdir(exist_ok=True)  # whitenoise warns of a folder that is not there

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["staterail.accounts.rest.authentication.TokenOrSession"],
    "DEFAULT_PERMISSION_CLASSES": ["staterail.accounts.rest.authentication.HasActor"],
    "DEFAULT_PARSER_CLASSES": ["staterail.core.rest.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "staterail.core.rest.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "staterail.core.openapi.Schema",
    "EXCEPTION_HANDLER": "staterail.core.rest.problem_response",
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "StateRail",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "DESCRIPTION": "Define workflows, run them durably, watch every step.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {"RunState": list(map(str, RunState)), "StepState": list(map(str, StepState))},
}

CELERY_BROKER_URL = REDIS_URL or "memory://localhost/"
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {"visibility_timeout": 6 * 3600} if REDIS_URL else {"polling_interval": 0.05}
)  # Redis: the broker must never redeliver before the database's lease does
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_DEFAULT_QUEUE = "runs"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"

CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"redact": {"()": "staterail.core.redaction.RedactingFilter"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["redact"]}},
    "root": {"handlers": ["console"], "level": env.str("STATERAIL_LOG_LEVEL", "INFO")},
    "loggers": {"django.request": {"level": "ERROR"}, "httpx": {"level": "WARNING"}, "celery": {"level": "WARNING"}},
}
