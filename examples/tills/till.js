// Publish receipts: each line of standard input is STORE_ID, a tab, and a receipt in JSON. Exit code 0: Kafka has them all.
//
// npm install kafkajs; node till.js < receipts.tsv

const readline = require("node:readline");
const { CompressionTypes, Kafka, Partitioners, logLevel } = require("kafkajs");

const { KAFKA = "127.0.0.1:9092", TOPIC = "transactions", KAFKA_USER, KAFKA_PASSWORD, COMPRESSION } = process.env;
const kafka = new Kafka({
  brokers: KAFKA.split(","),
  logLevel: logLevel.NOTHING,
  ...(KAFKA_USER && { sasl: { mechanism: "scram-sha-512", username: KAFKA_USER, password: KAFKA_PASSWORD } }),
});
const producer = kafka.producer({
  idempotent: true, // and with it acks=all, retries, and their order
  maxInFlightRequests: 1, // kafkajs needs this with it
  createPartitioner: Partitioners.DefaultPartitioner, // as Java's; the LegacyPartitioner puts shops elsewhere
});

let failed = 0;
async function send(messages) {
  // A refused record fails its whole batch: it is sent again, record by record, to find out which.
  const compression = COMPRESSION === "gzip" ? CompressionTypes.GZIP : CompressionTypes.None;
  try {
    await producer.send({ topic: TOPIC, acks: -1, timeout: 30000, compression, messages });
  } catch (error) {
    if (messages.length > 1) return void (await each(messages));
    failed += 1;
    console.error(`not delivered: ${error.message}`);
  }
}
async function each(messages) {
  for (const message of messages) await send([message]);
}

async function main() {
  await producer.connect();
  let batch = [];
  for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    const tab = line.indexOf("\t");
    batch.push({ key: line.slice(0, tab), value: line.slice(tab + 1) });
    if (batch.length === 500) {
      await send(batch);
      batch = [];
    }
  }
  if (batch.length) await send(batch);
  await producer.disconnect();
  process.exit(failed ? 1 : 0);
}

main().catch((error) => {
  console.error(`not delivered: ${error.message}`);
  process.exit(1);
});
