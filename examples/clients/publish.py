#!/usr/bin/python3
"""Publishes JSON lines and waits until each document can be found.

    publish.py amqp://guest:guest@127.0.0.1:5672/%2f INDEX FILE
"""
import json, sys, time
import pika

url, index, file = sys.argv[1:]
with open(file) as lines:
    # What has no receipt yet, by id. To publish a document twice does no harm: its id makes it one.
    waiting = {str(json.loads(line)["id"]): line for line in lines if line.strip()}
rejected = 0


def receipt(channel, method, properties, body):
    """Comes once for each document, when it can be found or is refused for good."""
    global rejected
    answer = json.loads(body)
    rejected += answer["status"] == "rejected"
    if waiting.pop(properties.correlation_id, None):
        print(json.dumps(answer), flush=True)


def publish_all():
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()  # basic_publish returns when the broker has the document, and raises if not
        channel.basic_consume("amq.rabbitmq.reply-to", receipt, auto_ack=True)
        for id, line in list(waiting.items()):
            properties = pika.BasicProperties(
                delivery_mode=2, content_type="application/json", reply_to="amq.rabbitmq.reply-to", correlation_id=id)
            channel.basic_publish("warren.documents", index, line, properties, mandatory=True)
            connection.process_data_events(time_limit=0)  # takes the receipts that have come meanwhile
        enough = time.monotonic() + 30
        while waiting and time.monotonic() < enough:
            connection.process_data_events(time_limit=1)


pause = 0.1
while waiting:
    before = len(waiting)
    try:
        publish_all()
    except pika.exceptions.AMQPError as error:
        print(f"{error!r}: publishing {len(waiting)} documents again", file=sys.stderr)
    pause = 0.1 if len(waiting) < before else min(2 * pause, 10)
    if waiting:
        time.sleep(pause)
sys.exit(1 if rejected else 0)
