"""A published version never changes: the database refuses it, whoever asks."""

from django.db import migrations

SQLITE = """
CREATE TRIGGER workflows_published_is_final BEFORE UPDATE ON workflows_workflowversion
WHEN OLD.published_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a published version is immutable'); END;
"""
POSTGRESQL = """
CREATE FUNCTION workflows_published_is_final() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'a published version is immutable' USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER workflows_published_is_final BEFORE UPDATE ON workflows_workflowversion
FOR EACH ROW WHEN (OLD.published_at IS NOT NULL) EXECUTE FUNCTION workflows_published_is_final();
"""


def guard(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRESQL)


def unguard(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        if schema_editor.connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER workflows_published_is_final")
        else:
            cursor.execute("DROP TRIGGER workflows_published_is_final ON workflows_workflowversion")
            cursor.execute("DROP FUNCTION workflows_published_is_final()")


class Migration(migrations.Migration):
    dependencies = [("workflows", "0001_initial")]
    operations = [migrations.RunPython(guard, unguard, elidable=False)]
