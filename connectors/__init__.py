"""Links to other systems: what pulls their records into Kafka, and what pushes our alerts to them."""
