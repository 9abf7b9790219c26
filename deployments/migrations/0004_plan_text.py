"""What plans are found by: a table that triggers keep, so that whatever changes a plan need not know of it."""

import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
from django.db import migrations, models

CREATE = """
CREATE FUNCTION deployments_note_plan_text(plan_ids bigint[]) RETURNS void LANGUAGE sql AS $$
INSERT INTO deployments_plantext (plan_id, document)
SELECT p.id, to_tsvector('simple', regexp_replace(concat_ws(' ', p.number, p.label, p.created_by, p.created_by_username,
    p.saved_by, p.saved_by_username, p.started_by, p.started_by_username, p.aborted_by, p.aborted_by_username,
    (SELECT string_agg(o.application_name, ' ' ORDER BY o.position, o.id)
     FROM deployments_planoperation o WHERE o.plan_id = p.id), left(p.notes, 20000)), '[^[:alnum:]]+', ' ', 'g'))
FROM deployments_deploymentplan p WHERE p.id = ANY(plan_ids) ORDER BY p.id
ON CONFLICT (plan_id) DO UPDATE SET document = excluded.document
WHERE deployments_plantext.document IS DISTINCT FROM excluded.document
$$;

CREATE FUNCTION deployments_plan_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM deployments_note_plan_text(ARRAY[NEW.id]);
    RETURN NULL;
END $$;

CREATE FUNCTION deployments_operations_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM deployments_note_plan_text(ARRAY(SELECT DISTINCT plan_id FROM written));
    RETURN NULL;
END $$;

CREATE FUNCTION deployments_plan_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM deployments_plantext WHERE plan_id = OLD.id;  -- written anew when its operations went, just before it
    RETURN NULL;
END $$;

CREATE TRIGGER plan_text_of_deleted AFTER DELETE ON deployments_deploymentplan
    FOR EACH ROW EXECUTE FUNCTION deployments_plan_deleted();
CREATE TRIGGER plan_text_of_new AFTER INSERT ON deployments_deploymentplan
    FOR EACH ROW EXECUTE FUNCTION deployments_plan_written();
CREATE TRIGGER plan_text_of_changed AFTER UPDATE ON deployments_deploymentplan
    FOR EACH ROW WHEN ((OLD.label, OLD.notes, OLD.saved_by, OLD.started_by, OLD.aborted_by)
        IS DISTINCT FROM (NEW.label, NEW.notes, NEW.saved_by, NEW.started_by, NEW.aborted_by))
    EXECUTE FUNCTION deployments_plan_written();
CREATE TRIGGER plan_text_of_added AFTER INSERT ON deployments_planoperation
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION deployments_operations_written();
CREATE TRIGGER plan_text_of_removed AFTER DELETE ON deployments_planoperation
    REFERENCING OLD TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION deployments_operations_written();

SELECT deployments_note_plan_text(ARRAY(SELECT id FROM deployments_deploymentplan));
"""
DROP = """
DROP TRIGGER plan_text_of_removed ON deployments_planoperation;
DROP TRIGGER plan_text_of_added ON deployments_planoperation;
DROP TRIGGER plan_text_of_changed ON deployments_deploymentplan;
DROP TRIGGER plan_text_of_new ON deployments_deploymentplan;
DROP TRIGGER plan_text_of_deleted ON deployments_deploymentplan;
DROP FUNCTION deployments_plan_deleted();
DROP FUNCTION deployments_operations_written();
DROP FUNCTION deployments_plan_written();
DROP FUNCTION deployments_note_plan_text(bigint[]);
"""


class Migration(migrations.Migration):
    dependencies = [("deployments", "0003_plan_numbers")]

    operations = [
        migrations.CreateModel(
            name="PlanText",
            fields=[
                (
                    "plan",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="text",
                        serialize=False,
                        to="deployments.deploymentplan",
                    ),
                ),
                ("document", django.contrib.postgres.search.SearchVectorField()),
            ],
            options={
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(
                        fastupdate=False, fields=["document"], name="plan_text_document"
                    )
                ],
            },
        ),
        migrations.RunSQL(CREATE, DROP),
    ]
