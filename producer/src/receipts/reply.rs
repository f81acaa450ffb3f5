//! Receipts for AMQP clients: one JSON message for each document, to the address that the client gave.

use warren_protocol::ports::{Address, InvalidAddress, Message};
use warren_protocol::problem::Code;
use warren_protocol::receipt::Receipt;
use warren_protocol::{DocumentId, Problem};

use super::{Receipts, Seen, Ticket};

/// The headers of what was a dead letter.
const OWN_HEADERS: &str = "warren-";

/// Where a client wants to hear what has become of the documents of one message.
#[derive(Debug)]
pub(crate) struct Reply {
    receipts: Receipts,
    to: Address,
    /// Some clients cannot set one; the receipt names the document anyway.
    correlation_id: Option<String>,
    index: String,
    message_id: Option<String>,
}

impl std::fmt::Debug for Receipts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipts").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

impl Reply {
    /// What a message from the intake asks for, if it does. One that comes again, from the queue or from the dead letters,
    /// may have been answered before.
    pub(crate) fn wanted(receipts: &Receipts, message: &Message, redelivered: bool) -> Option<Self> {
        let to = message.reply_to.clone()?;
        if redelivered || message.headers.keys().any(|name| name.starts_with(OWN_HEADERS)) {
            return None;
        }
        match Address::of_client(to) {
            Ok(to) => Some(Self {
                receipts: receipts.clone(),
                to,
                correlation_id: message.correlation_id.clone(),
                index: message.routing_key.clone(),
                message_id: message.message_id.clone(),
            }),
            Err(error @ (InvalidAddress::Own(_) | InvalidAddress::Length(_))) => {
                receipts.warn(&error.to_string());
                None
            }
        }
    }

    /// Answers for each document: at once for those that were refused, and stand in the dead letters; for the others once a
    /// search sees them. Called when the message is settled: until then it may come again, and would be answered twice.
    pub(crate) fn answer(self, tickets: Vec<Ticket>, refused: Vec<(Option<String>, Problem)>) {
        let shared = self.receipts.shared.clone();
        let answering = async move {
            // Whoever listens also tells.
            if !self.receipts.listens().await {
                return self.receipts.warn("this process cannot listen for them");
            }
            for (id, problem) in refused {
                let id = id.or_else(|| self.message_id.clone());
                self.tell(&Receipt::rejected(self.index.clone(), id, problem));
            }
            for mut ticket in tickets {
                if let Some(seen) = ticket.seen().await {
                    self.tell_seen(ticket.ids, &seen);
                }
            }
        };
        let closing = shared.closing.clone();
        shared.promises.spawn(async move { closing.run_until_cancelled(answering).await });
    }

    fn tell_seen(&self, ids: Vec<DocumentId>, Seen { position, failed }: &Seen) {
        for (operation, id) in ids.into_iter().enumerate() {
            let failed = failed.iter().find(|failed| failed.operation as usize == operation);
            self.tell(&match failed {
                None => Receipt::searchable(self.index.clone(), id.into(), *position),
                Some(failed) => {
                    let problem = Problem::new(Code::InvalidField, failed.detail.clone());
                    Receipt::rejected(self.index.clone(), Some(id.into()), problem)
                }
            });
        }
    }

    fn tell(&self, receipt: &Receipt) {
        let body = match serde_json::to_vec(receipt) {
            Ok(body) => body,
            Err(error) => return tracing::error!(%error, "a receipt cannot be written"),
        };
        let word = Message {
            body: body.into(),
            content_type: Some("application/json".to_owned()),
            correlation_id: self.correlation_id.clone(),
            ..Message::default()
        };
        if self.receipts.shared.untold.try_send((self.to.clone(), word)).is_err() {
            self.receipts.warn("more receipts wait to be sent than this process keeps");
        }
    }
}
