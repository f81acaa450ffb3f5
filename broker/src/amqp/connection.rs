//! Connections that are made again when they are lost.
//!
//! lapin's own recovery is not used: it restarts stream consumers where they began and tells nobody. Here a lost
//! connection is an error to whoever uses it, and the next one who asks gets a new connection.

use std::sync::Arc;
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::failure::{Failure, until};

/// The pause after the first failed attempt, of whatever kind; it doubles up to [`LONGEST_PAUSE`].
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a publisher looks whether the broker takes messages again.
const BLOCKED_POLL: Duration = Duration::from_millis(50);

/// What all parts of the adapter share.
pub(super) struct Context {
    pub(super) uri: AMQPUri,
    /// Names the connections, together with their purposes.
    pub(super) role: String,
    pub(super) heartbeat_s: u16,
    pub(super) connect_timeout: Duration,
    /// For each answer of the broker.
    pub(super) timeout: Duration,
    /// Every task of the adapter.
    pub(super) tasks: TaskTracker,
    /// For what a `drop` has to do.
    pub(super) runtime: tokio::runtime::Handle,
    /// Cancelled when the broker is closed: nothing is tried again then.
    pub(super) stop: CancellationToken,
}

impl Context {
    /// When an operation that begins now has to be answered.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// The name of a connection, as RabbitMQ lists it.
    pub(super) fn name(&self, purpose: &str) -> String {
        format!("warren {} {purpose}", self.role)
    }

    /// The address with the time limits of the settings, unless it sets its own.
    pub(super) fn uri(&self, heartbeat_s: u16) -> AMQPUri {
        let mut uri = self.uri.clone();
        uri.query.heartbeat.get_or_insert(heartbeat_s);
        uri.query.connection_timeout.get_or_insert(u64::try_from(self.connect_timeout.as_millis()).unwrap_or(u64::MAX));
        uri
    }

    /// Pauses before the next attempt, longer from time to time; false if the broker was closed meanwhile.
    pub(super) async fn pause(&self, pause: &mut Duration) -> bool {
        let length = *pause;
        *pause = (length * 2).min(LONGEST_PAUSE);
        timeout(length, self.stop.cancelled()).await.is_err()
    }
}

/// One connection at a time, for one purpose; the first is made when it is first asked for.
pub(super) struct Link {
    shared: Arc<Shared>,
    _end: DropGuard,
}

struct Shared {
    context: Arc<Context>,
    purpose: &'static str,
    heartbeat_s: u16,
    state: watch::Sender<State>,
    wanted: Notify,
}

#[derive(Clone)]
enum State {
    Idle,
    Failed(Failure),
    Connected(Arc<Connection>),
}

impl Link {
    pub(super) fn new(context: &Arc<Context>, purpose: &'static str, heartbeat_s: u16) -> Arc<Self> {
        let (state, wanted) = (watch::Sender::new(State::Idle), Notify::new());
        let shared = Arc::new(Shared { context: Arc::clone(context), purpose, heartbeat_s, state, wanted });
        let stop = context.stop.child_token();
        context.tasks.spawn(Arc::clone(&shared).supervise(stop.clone()));
        Arc::new(Self { shared, _end: stop.drop_guard() })
    }

    /// The connection, or a new one; awaits it until `deadline` at the latest.
    pub(super) async fn connection(&self, deadline: Instant) -> Result<Arc<Connection>, Failure> {
        let mut states = self.shared.state.subscribe();
        loop {
            let state = states.borrow_and_update().clone();
            if let State::Connected(connection) = &state
                && connection.status().connected()
            {
                return Ok(Arc::clone(connection));
            }
            if self.shared.context.stop.is_cancelled() {
                return Err(Failure::closed());
            }
            self.shared.wanted.notify_one();
            if timeout_at(deadline, states.changed()).await.is_err() {
                return Err(match state {
                    State::Failed(failure) => failure,
                    _ => Failure::Unavailable("no connection to the broker in time".to_owned()),
                });
            }
        }
    }

    /// The connection for publishing: awaits the end of a memory or disk alarm, too. What lapin takes during an alarm
    /// it would keep in memory.
    pub(super) async fn unblocked(&self, deadline: Instant) -> Result<Arc<Connection>, Failure> {
        let connection = self.connection(deadline).await?;
        while connection.status().blocked() {
            if Instant::now() + BLOCKED_POLL > deadline {
                return Err(Failure::Alarm);
            }
            sleep(BLOCKED_POLL).await;
        }
        Ok(connection)
    }

    /// Closes the connection, if there is one.
    pub(super) async fn close(&self, deadline: Instant) {
        let state = self.shared.state.send_replace(State::Idle);
        if let State::Connected(connection) = state
            && connection.status().connected()
            && let Err(error) = until(deadline, connection.close(200, "closed".into())).await
        {
            warn!(purpose = self.shared.purpose, %error, "the connection was not closed cleanly");
        }
    }
}

impl Shared {
    /// Connects whenever somebody waits for a connection and there is none. A task of its own, so that an attempt goes
    /// on when the one who asked for it has gone.
    async fn supervise(self: Arc<Self>, stop: CancellationToken) {
        while let Some(()) = stop.run_until_cancelled(self.wanted.notified()).await {
            if stop.run_until_cancelled(self.connect()).await.is_none() {
                break;
            }
        }
    }

    async fn connect(&self) {
        let mut pause = SHORTEST_PAUSE;
        while !self.connected() && self.state.receiver_count() > 0 {
            match open(&self.context, self.purpose, self.heartbeat_s).await {
                Ok(connection) => {
                    info!(purpose = self.purpose, "connected to RabbitMQ");
                    self.state.send_replace(State::Connected(Arc::new(connection)));
                }
                Err(failure) => {
                    warn!(purpose = self.purpose, error = %failure, pause_ms = pause.as_millis(), "cannot connect to RabbitMQ");
                    self.state.send_replace(State::Failed(failure));
                    if !self.context.pause(&mut pause).await {
                        break;
                    }
                }
            }
        }
    }

    fn connected(&self) -> bool {
        matches!(&*self.state.borrow(), State::Connected(connection) if connection.status().connected())
    }
}

/// One attempt.
pub(super) async fn open(context: &Context, purpose: &str, heartbeat_s: u16) -> Result<Connection, Failure> {
    let properties = ConnectionProperties::default().with_connection_name(context.name(purpose).into());
    match timeout(context.connect_timeout, Connection::connect_uri(context.uri(heartbeat_s), properties)).await {
        Ok(connection) => connection.map_err(Failure::of_login),
        Err(_) => Err(Failure::timeout(context.connect_timeout)),
    }
}
