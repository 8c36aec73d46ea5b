"""PostgreSQL: events in monthly partitions with their place in the log, tables that are updated in place."""

from django.db import migrations

EVENTS = """
DROP TABLE runs_event;
CREATE SEQUENCE runs_event_id_seq AS bigint CACHE 64;
CREATE TABLE runs_event (
    id bigint NOT NULL DEFAULT nextval('runs_event_id_seq'),
    tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    seq integer NOT NULL,
    workflow_id uuid NOT NULL,
    workflow_version integer NOT NULL,
    event_type varchar(20) NOT NULL,
    step_id varchar(63),
    item_index integer,
    generation integer NOT NULL,
    attempt integer,
    state_before varchar(16),
    state_after varchar(16),
    payload json NOT NULL,
    ts timestamptz NOT NULL,
    trace_id varchar(32) NOT NULL,
    corr_id varchar(255) NOT NULL,
    emitter varchar(64) NOT NULL,
    CONSTRAINT one_event_per_seq PRIMARY KEY (run_id, seq)
) PARTITION BY RANGE (run_id);
ALTER SEQUENCE runs_event_id_seq OWNED BY runs_event.id;
CREATE INDEX event_log_position ON runs_event (tx, id);
CREATE TABLE runs_event_rest PARTITION OF runs_event DEFAULT;
"""
# A step's row is written two or three times: room on its page keeps the update there, and off the indexes
IN_PLACE = """
ALTER TABLE runs_workflowrun SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE runs_steprun SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
"""


def forwards(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        from runs.store.partitions import ensure_partitions

        schema_editor.execute(EVENTS)
        schema_editor.execute(IN_PLACE)
        ensure_partitions(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("runs", "0001_initial")]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
