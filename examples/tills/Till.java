import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Publish receipts: each line of standard input is STORE_ID, a tab, and a receipt in JSON. Exit code 0: Kafka has them all.
 *
 * <p>java -cp "kafka-clients and what it needs/*" Till.java < receipts.tsv
 */
public class Till {
    static String setting(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }

    public static void main(String[] arguments) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", setting("KAFKA", "127.0.0.1:9092"));
        config.put("enable.idempotence", "true"); // and with it acks=all, retries, and their order
        config.put("delivery.timeout.ms", "30000");
        config.put("request.timeout.ms", "10000");
        config.put("compression.type", setting("COMPRESSION", "lz4"));
        config.put("key.serializer", StringSerializer.class.getName());
        config.put("value.serializer", StringSerializer.class.getName());
        if (System.getenv("KAFKA_USER") != null) {
            config.put("security.protocol", "SASL_PLAINTEXT");
            config.put("sasl.mechanism", "SCRAM-SHA-512");
            config.put("sasl.jaas.config", String.format(
                "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"%s\" password=\"%s\";",
                System.getenv("KAFKA_USER"), System.getenv("KAFKA_PASSWORD")));
        }
        String topic = setting("TOPIC", "transactions");
        AtomicInteger failed = new AtomicInteger();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config);
             BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line; (line = input.readLine()) != null; ) {
                int tab = line.indexOf('\t');
                // Only the callback says whether Kafka has a record.
                producer.send(new ProducerRecord<>(topic, line.substring(0, tab), line.substring(tab + 1)), (where, error) -> {
                    if (error != null) {
                        failed.incrementAndGet();
                        System.err.println("not delivered: " + error.getMessage());
                    }
                });
            }
        }
        System.exit(failed.get() == 0 ? 0 : 1);
    }
}
