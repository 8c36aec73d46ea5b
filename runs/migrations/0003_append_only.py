"""Events are append-only, whoever writes: a trigger refuses every UPDATE, and the DELETE of an event whose run stands."""

from django.db import migrations

SQLITE = (
    "CREATE TRIGGER event_no_update BEFORE UPDATE ON runs_event BEGIN"
    " SELECT RAISE(ABORT, 'events are append-only'); END",
    "CREATE TRIGGER event_no_delete BEFORE DELETE ON runs_event"
    " WHEN EXISTS (SELECT 1 FROM runs_workflowrun WHERE id = OLD.run_id) BEGIN"
    " SELECT RAISE(ABORT, 'events are append-only'); END",
)
POSTGRES = (
    "CREATE FUNCTION event_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT 1 FROM runs_workflowrun WHERE id = OLD.run_id) THEN RETURN OLD; END IF;"
    " RAISE EXCEPTION 'events are append-only' USING ERRCODE = 'check_violation'; END $$",
    "CREATE TRIGGER event_no_update BEFORE UPDATE OR DELETE ON runs_event"
    " FOR EACH ROW EXECUTE FUNCTION event_append_only()",
)


def forwards(apps, schema_editor):
    for statement in SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRES:
        schema_editor.execute(statement)


def backwards(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("DROP TRIGGER event_no_update")
        schema_editor.execute("DROP TRIGGER event_no_delete")
    else:
        schema_editor.execute("DROP TRIGGER event_no_update ON runs_event")
        schema_editor.execute("DROP FUNCTION event_append_only()")


class Migration(migrations.Migration):
    dependencies = [("runs", "0002_postgresql")]
    operations = [migrations.RunPython(forwards, backwards)]
