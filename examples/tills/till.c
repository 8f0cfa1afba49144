/* Publish receipts: each line of standard input is STORE_ID, a tab, and a receipt in JSON. Exit code 0: Kafka has them all.
 *
 * apt install librdkafka-dev; cc till.c -o till -lrdkafka; ./till < receipts.tsv
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed = 0;

/* Only this says whether Kafka has a record. */
static void reported(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque) {
    if (message->err) {
        failed++;
        fprintf(stderr, "not delivered: %s\n", rd_kafka_err2str(message->err));
    }
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char reason[512];
    if (rd_kafka_conf_set(conf, name, value, reason, sizeof reason) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s: %s\n", name, reason);
        exit(2);
    }
}

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

int main(void) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", setting("KAFKA", "127.0.0.1:9092"));
    set(conf, "enable.idempotence", "true"); /* and with it acks=all, retries, and their order */
    set(conf, "delivery.timeout.ms", "30000");
    set(conf, "compression.type", setting("COMPRESSION", "lz4"));
    set(conf, "partitioner", "murmur2_random"); /* as Java and JavaScript do: the default puts shops elsewhere */
    if (getenv("KAFKA_USER")) {
        set(conf, "security.protocol", "SASL_PLAINTEXT");
        set(conf, "sasl.mechanism", "SCRAM-SHA-512");
        set(conf, "sasl.username", getenv("KAFKA_USER"));
        set(conf, "sasl.password", setting("KAFKA_PASSWORD", ""));
    }
    rd_kafka_conf_set_dr_msg_cb(conf, reported);
    char reason[512];
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    if (!producer) {
        fprintf(stderr, "%s\n", reason);
        return 2;
    }
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, stdin)) > 0) {
        if (line[length - 1] == '\n') length--;
        char *tab = memchr(line, '\t', length);
        if (!tab) continue;
        rd_kafka_resp_err_t problem;
        while ((problem = rd_kafka_producev(
                    producer, RD_KAFKA_V_TOPIC(setting("TOPIC", "transactions")), RD_KAFKA_V_KEY(line, (size_t)(tab - line)),
                    RD_KAFKA_V_VALUE(tab + 1, (size_t)(line + length - tab - 1)), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                    RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(producer, 100); /* Kafka is slower than we are */
        if (problem) {
            failed++;
            fprintf(stderr, "not delivered: %s\n", rd_kafka_err2str(problem));
        }
        rd_kafka_poll(producer, 0);
    }
    int left = rd_kafka_flush(producer, 60000) != RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_destroy(producer);
    free(line);
    return left || failed;
}
