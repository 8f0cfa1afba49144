"""An Airflow DAG: every night a network is trained, and served if it is better than the one that is.

Put it into Airflow's `dags` folder, on workers with Aisleflow and its extra `training` (PySpark, PyTorch) and Java 17. Airflow's
connection `aisleflow_sales` says where sales are; `AISLEFLOW_MODELS_URL` (a shared folder, or s3://BUCKET/PREFIX) in the
workers' environment where models are kept, so that the API sees what is promoted. Written for Airflow 3.
"""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    dag_id="aisleflow_train",
    description="Demand: learn from the shops' sales, judge on the last four weeks, promote what is better.",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow puts its own zone on it
    catchup=False,  # a run learns from all sales there are: days that were missed need none of their own
    max_active_runs=1,
    default_args={
        "retries": 2,
        "retry_delay": timedelta(minutes=15),
        "execution_timeout": timedelta(hours=6),
    },
    tags=["aisleflow", "demand"],
) as dag:
    train = BashOperator(
        task_id="train",
        # The address goes by the environment: a command line is for everybody to read.
        bash_command="aisleflow train --country IN --master 'local[*]'",
        env={"AISLEFLOW_TRAIN_FROM": "{{ conn.aisleflow_sales.get_uri() }}"},
        append_env=True,
        skip_on_exit_code=None,
    )
    tell = BashOperator(task_id="tell", bash_command="aisleflow models list", append_env=True)
    train >> tell
