//! The door of every role: arguments, configuration, telemetry, broker, then the role until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, FromArgMatches};
use warren_broker::BrokerError;
use warren_protocol::ports::Ports;
use warren_snapshot::StoreError;

use crate::arenas;
use crate::config::{Config, ConfigError};
use crate::stop::Stop;
use crate::telemetry::{self, TelemetryError};

/// The exit code of a bad configuration (`EX_CONFIG` of sysexits.h).
const BAD_CONFIGURATION: u8 = 78;
/// What a stop may take beyond `stop_timeout_ms`, which the role itself keeps to.
const GRACE: Duration = Duration::from_secs(2);
/// How long closing the broker may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// The arguments that every role takes.
#[derive(Debug, Clone, Default, Args)]
pub struct RoleArgs {
    /// Reads settings from this TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Prints the settings in force, secrets hidden, and ends
    #[arg(long)]
    pub check_config: bool,
    /// Serves HTTP on this address, such as 127.0.0.1:8080; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Uses this RabbitMQ: amqp://user:password@host:5672/vhost; without one, the embedded broker
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,
    /// Keeps files in this folder
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl RoleArgs {
    /// The configuration that the arguments and their environment make.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let flags = [
            ("http.listen", self.listen.map(|address| address.to_string())),
            ("broker.url", self.broker.clone()),
            ("data_dir", self.data_dir.as_ref().map(|folder| folder.display().to_string())),
        ];
        let overrides = flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        Config::load(self.config.as_deref(), overrides)
    }
}

/// The whole `main` of a role. Exits with 0, 1 if the role failed, 2 on wrong usage, 78 on a bad configuration.
pub fn main(role: &'static str, run: impl AsyncFnOnce(Config, Ports, Stop) -> anyhow::Result<()>) -> ExitCode {
    let command = RoleArgs::augment_args(clap::Command::new(role).version(env!("CARGO_PKG_VERSION")));
    match command.try_get_matches().and_then(|matches| RoleArgs::from_arg_matches(&matches)) {
        Ok(args) => launch(role, &args, run),
        Err(error) => {
            // Nothing is left to be said if stderr is closed.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

/// Runs a role whose arguments are parsed already; as [`main`] otherwise.
pub fn launch(role: &'static str, args: &RoleArgs, run: impl AsyncFnOnce(Config, Ports, Stop) -> anyhow::Result<()>) -> ExitCode {
    let ended = || -> anyhow::Result<()> {
        let config = args.load()?;
        if args.check_config {
            print!("{}", config.to_toml()?);
            return Ok(());
        }
        let arenas = arenas::few();
        telemetry::start(&config.log)?;
        if let Err(error) = arenas {
            tracing::warn!(%error, "this process may take more memory than it needs: set MALLOC_ARENA_MAX=2");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime can be started")?;
        let ended = runtime.block_on(connected(role, config, run));
        // What still blocks a thread is not waited for.
        runtime.shutdown_background();
        ended
    };
    match ended() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{role}: {error:#}");
            exit_code(&error)
        }
    }
}

/// The exit code that tells whose fault an error is.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let bad_configuration = error.is::<ConfigError>()
        || error.is::<TelemetryError>()
        || matches!(error.downcast_ref(), Some(BrokerError::BadUrl { .. }))
        || matches!(error.downcast_ref(), Some(StoreError::BadUrl(_)));
    if bad_configuration { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
}

async fn connected(
    role: &str,
    config: Config,
    run: impl AsyncFnOnce(Config, Ports, Stop) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stop = Stop::on_signals().context("signals cannot be caught")?;
    let broker = tokio::select! {
        broker = warren_broker::connect(&config.broker, role, &config.data_dir) => broker?,
        () = stop.requested() => return Ok(()),
    };
    let limit = Duration::from_millis(config.stop_timeout_ms.get());
    let overdue = async {
        stop.requested().await;
        tokio::time::sleep(limit + GRACE).await;
    };
    let ended = tokio::select! {
        ended = run(config, broker.ports.clone(), stop.clone()) => ended,
        () = overdue => Err(anyhow::anyhow!("not everything had stopped {} ms after the signal", (limit + GRACE).as_millis())),
    };
    if tokio::time::timeout(CLOSE_LIMIT, broker.close()).await.is_err() && ended.is_ok() {
        bail!("the broker's connections were not closed within {} s", CLOSE_LIMIT.as_secs());
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<RoleArgs, clap::Error> {
        let command = RoleArgs::augment_args(clap::Command::new("role")).no_binary_name(true);
        RoleArgs::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    #[test]
    fn flags_reach_the_configuration() {
        let args = parse(&["--listen", "127.0.0.1:0", "--broker", "amqp://host", "--data-dir", "here"]).unwrap();
        let config = args.load().unwrap();
        assert_eq!(config.http.listen, Some("127.0.0.1:0".parse().unwrap()));
        assert_eq!(config.broker.url.as_deref(), Some("amqp://host"));
        assert_eq!(config.data_dir, PathBuf::from("here"));
        assert_eq!(parse(&["--listen", "nowhere"]).unwrap_err().exit_code(), 2);
        assert_eq!(parse(&["--lisden"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn the_exit_code_tells_whose_fault_it_is() {
        let rule = ConfigError::Rule { key: "a".to_owned(), rule: "b".to_owned() };
        let bad_configuration = ExitCode::from(78);
        assert_eq!(exit_code(&anyhow::Error::new(rule).context("while starting")), bad_configuration);
        assert_eq!(exit_code(&BrokerError::BadUrl { reason: "no".to_owned() }.into()), bad_configuration);
        assert_eq!(exit_code(&StoreError::BadUrl("no".to_owned()).into()), bad_configuration);
        let down = BrokerError::Unavailable { url: String::new(), reason: String::new() };
        assert_eq!(exit_code(&down.into()), ExitCode::FAILURE);
        assert_eq!(exit_code(&anyhow::anyhow!("broken")), ExitCode::FAILURE);
    }
}
