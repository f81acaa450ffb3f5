#!/usr/bin/env node
// Publishes JSON lines and waits until each document can be found:
//     publish.mjs amqp://guest:guest@127.0.0.1:5672/%2f INDEX FILE
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import amqp from "amqplib";

const [url, index, file] = process.argv.slice(2);
const lines = (await readFile(file, "utf8")).split("\n").filter((line) => line.trim());
// What has no receipt yet, by id. To publish a document twice does no harm: its id makes it one.
const waiting = new Map(lines.map((line) => [String(JSON.parse(line).id), line]));

/** Comes once for each document, when it can be found or is refused for good. */
function receipt(message) {
  const answer = JSON.parse(message.content);
  if (answer.status === "rejected") process.exitCode = 1;
  if (waiting.delete(message.properties.correlationId)) console.log(JSON.stringify(answer));
}

async function publishAll(connection, fail) {
  const channel = await connection.createConfirmChannel();
  channel.on("error", fail);
  channel.on("return", () => fail(new Error("nobody takes documents: does this virtual host have a Warren?")));
  await channel.consume("amq.rabbitmq.reply-to", receipt, { noAck: true });
  for (const [id, line] of [...waiting]) {
    const options = { persistent: true, mandatory: true, contentType: "application/json", correlationId: id };
    const room = channel.publish("warren.documents", index, Buffer.from(line), { ...options, replyTo: "amq.rabbitmq.reply-to" });
    if (!room) await once(channel, "drain");
  }
  await channel.waitForConfirms(); // the broker has all documents, or this throws
  for (let enough = Date.now() + 30_000; waiting.size && Date.now() < enough; ) await sleep(20);
}

for (let pause = 100; waiting.size; ) {
  const before = waiting.size;
  try {
    const connection = await amqp.connect(url);
    const all = new Promise((done, fail) => {
      connection.on("error", fail);
      connection.on("close", () => fail(new Error("the connection was closed")));
      publishAll(connection, fail).then(done, fail);
    });
    await all.finally(() => connection.close().catch(() => {})); // it may be closed already
  } catch (error) {
    console.error(`${error.message}: publishing ${waiting.size} documents again`);
  }
  pause = waiting.size < before ? 100 : Math.min(2 * pause, 10_000);
  if (waiting.size) await sleep(pause);
}
