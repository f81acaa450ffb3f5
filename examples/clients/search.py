#!/usr/bin/python3
"""Searches over AMQP and prints the answer.

    search.py amqp://guest:guest@127.0.0.1:5672/%2f INDEX 'words to find'
"""
import json, sys, time, uuid
import pika

url, index, query = sys.argv[1:]
SECONDS = 10
replies = {}


def reply(channel, method, properties, body):
    replies[properties.correlation_id] = (properties.content_type, json.loads(body))


with pika.BlockingConnection(pika.URLParameters(url)) as connection:
    channel = connection.channel()
    channel.basic_consume("amq.rabbitmq.reply-to", reply, auto_ack=True)
    id = str(uuid.uuid4())
    request = {"query": query, "limit": 10, "timeout_ms": SECONDS * 1000}
    properties = pika.BasicProperties(
        content_type="application/json", reply_to="amq.rabbitmq.reply-to", correlation_id=id,
        expiration=str(SECONDS * 1000))  # in milliseconds: nobody searches for whom nobody waits
    channel.basic_publish("warren.search", index, json.dumps(request), properties)
    enough = time.monotonic() + SECONDS
    while id not in replies and time.monotonic() < enough:
        connection.process_data_events(time_limit=0.2)

if id not in replies:
    sys.exit(f"no answer within {SECONDS} s: does a query service run?")
content_type, answer = replies[id]
print(json.dumps(answer))
sys.exit(1 if content_type == "application/problem+json" else 0)
