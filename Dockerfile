# syntax=docker/dockerfile:1
# One image for every part: web, workers, migrations. Non-root, and it needs no writable root file system.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/staterail
RUN python -m venv /opt/venv && /opt/venv/bin/pip install uv==0.13.9
COPY requirements.lock pyproject.toml ./
# The lock also names what only development needs: the image leaves that out, hashes still checked
RUN /opt/venv/bin/uv pip compile --quiet --generate-hashes --no-annotate --constraint requirements.lock pyproject.toml \
        --output-file runtime.lock \
    && /opt/venv/bin/uv pip sync --quiet --python /opt/venv/bin/python --require-hashes runtime.lock
COPY manage.py ./
COPY staterail staterail
COPY workflows workflows
COPY runs runs
COPY analytics analytics
COPY alerts alerts
COPY templates templates
RUN DATABASE_URL=postgres://build STATERAIL_DATA=/srv/data SECRET_KEY=build /opt/venv/bin/python manage.py collectstatic --noinput \
    && /opt/venv/bin/python -m compileall -q -x '/tests/' .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin staterail
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv /srv
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 STATERAIL_DATA=/srv/data
WORKDIR /srv/staterail
USER staterail
EXPOSE 8000
CMD ["uvicorn", "staterail.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--lifespan", "off", "--no-server-header", "--no-access-log", "--timeout-graceful-shutdown", "20"]
