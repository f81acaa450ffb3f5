"""A service bus beside Warren: another user of the broker, who knows nothing of it.

usage: service_bus.py URL (declare | publish FILE | consume COUNT | has QUEUE)

`declare` makes a topic exchange with one consumer's queue, and a queue by itself; `publish` sends lines of
EXCHANGE, KEY and BODY, separated by tabs, with confirms; `consume` prints the bodies that the other consumer gets.
"""

import sys

import pika

connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
action = sys.argv[2]
if action == "declare":
    channel.exchange_declare("shop.events", "topic", durable=True)
    channel.queue_declare("billing", durable=True)
    channel.queue_bind("billing", "shop.events", "#")
    channel.queue_declare("plain", durable=True)
elif action == "publish":
    channel.confirm_delivery()
    with open(sys.argv[3], encoding="utf-8") as lines:
        for line in lines:
            exchange, key, body = line.rstrip("\n").split("\t")
            properties = pika.BasicProperties(
                delivery_mode=2, content_type="application/vnd.masstransit+json", headers={"MT-Activity-Id": "00-1"}
            )
            channel.basic_publish(exchange, key, body.encode(), properties, mandatory=True)
elif action == "consume":
    count = int(sys.argv[3])
    if count:
        for method, _, body in channel.consume("billing", inactivity_timeout=30):
            if method is None:
                sys.exit("nothing more comes")
            print(body.decode())
            channel.basic_ack(method.delivery_tag)
            count -= 1
            if count == 0:
                break
        channel.cancel()
    print("waiting:", channel.queue_declare("billing", passive=True).method.message_count)
elif action == "has":
    try:
        channel.queue_declare(sys.argv[3], passive=True)
        print("yes")
    except pika.exceptions.ChannelClosedByBroker as closed:
        print("no" if closed.reply_code == 404 else closed)
else:
    sys.exit(__doc__)
if connection.is_open:
    connection.close()
