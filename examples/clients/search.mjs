#!/usr/bin/env node
// Searches over AMQP and prints the answer:
//     search.mjs amqp://guest:guest@127.0.0.1:5672/%2f INDEX 'words to find'
import { randomUUID } from "node:crypto";
import amqp from "amqplib";

const [url, index, query] = process.argv.slice(2);
const TIMEOUT_MS = 10_000;

const connection = await amqp.connect(url);
const channel = await connection.createChannel();
const id = randomUUID();
const reply = new Promise((resolve, reject) => {
  const receive = (message) => message?.properties.correlationId === id && resolve(message);
  const request = Buffer.from(JSON.stringify({ query, limit: 10, timeout_ms: TIMEOUT_MS }));
  // Its expiration: nobody searches for whom nobody waits.
  const options = { contentType: "application/json", replyTo: "amq.rabbitmq.reply-to", correlationId: id, expiration: TIMEOUT_MS };
  channel.consume("amq.rabbitmq.reply-to", receive, { noAck: true })
    .then(() => channel.publish("warren.search", index, request, options), reject);
  setTimeout(reject, TIMEOUT_MS, new Error(`no answer within ${TIMEOUT_MS} ms: does a query service run?`)).unref();
});
try {
  const { content, properties } = await reply;
  console.log(content.toString());
  if (properties.contentType === "application/problem+json") process.exitCode = 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
await connection.close();
