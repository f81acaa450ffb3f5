//! Where settings come from: defaults < file < environment < flags.
//!
//! Every single setting is parsed alone first, so that an error can say which file, variable or flag is at fault.

use std::ffi::OsString;
use std::path::Path;

use config::{ConfigBuilder, File, FileFormat, Value, builder::DefaultState};

use super::Config;

/// Variables that start with it are settings; two more underscores stand for each dot.
const PREFIX: &str = "WARREN__";
/// The settings whose values no error shows.
const SECRETS: [&str; 4] = ["auth.keys", "broker.url", "client.key", "store.options"];
/// The settings that are lists; in a variable or a flag, commas part their values.
const LISTS: [&str; 2] = ["auth.keys", "http.hosts"];

/// Why a configuration cannot be used. Each is for the person who wrote it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file, a variable or a flag has an unknown key or a wrong value.
    #[error("{origin}: {detail}")]
    Source {
        /// Where it stands.
        origin: String,
        /// The key and what is wrong with it.
        detail: String,
    },
    /// A value breaks a rule.
    #[error("{key} {rule}")]
    Rule {
        /// The setting.
        key: String,
        /// What it is, and what it should be.
        rule: String,
    },
}

impl Config {
    /// Reads all sources: `file` if there is one, the environment, and `overrides` by dotted key; then checks the rules.
    pub fn load(file: Option<&Path>, overrides: Vec<(String, String)>) -> Result<Self, ConfigError> {
        load(file, std::env::vars_os(), overrides)
    }

    /// The settings as TOML, secrets hidden.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut shown = self.clone();
        shown.broker.url = self.broker.redacted_url();
        shown.store = self.store.redacted();
        toml::to_string_pretty(&shown)
    }
}

fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    overrides: Vec<(String, String)>,
) -> Result<Config, ConfigError> {
    let mut all = config::Config::builder();
    if let Some(path) = file {
        let origin = path.display().to_string();
        let source = || File::from(path).format(FileFormat::Toml);
        parse(config::Config::builder().add_source(source()), &origin)?;
        all = all.add_source(source());
    }
    for (name, value) in environment {
        let Some(key) = setting(&name)? else { continue };
        let origin = format!("environment variable {}", name.display());
        let Some(value) = value.to_str() else {
            return Err(ConfigError::Source { origin, detail: "the value is not UTF-8".to_owned() });
        };
        // A compose file passes on a variable that is not set as an empty one.
        if !value.is_empty() {
            all = set(all, &key, value, &origin)?;
        }
    }
    for (key, value) in overrides {
        let origin = format!("flag for {key}");
        all = set(all, &key, &value, &origin)?;
    }
    let config = parse(all, "configuration")?;
    config.validate()?;
    Ok(config)
}

/// The dotted key that a variable stands for, if it is one of ours.
fn setting(name: &OsString) -> Result<Option<String>, ConfigError> {
    match name.to_str() {
        Some(name) => Ok(name.strip_prefix(PREFIX).map(|path| path.to_ascii_lowercase().replace("__", "."))),
        None if name.to_string_lossy().starts_with(PREFIX) => {
            Err(ConfigError::Source { origin: format!("environment variable {name:?}"), detail: "is not UTF-8".to_owned() })
        }
        None => Ok(None),
    }
}

fn set(
    all: ConfigBuilder<DefaultState>,
    key: &str,
    value: &str,
    origin: &str,
) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
    let origin = &match SECRETS.contains(&key) {
        true => origin.to_owned(),
        false => format!("{origin} = {value:?}"),
    };
    let value: Value = if LISTS.contains(&key) {
        value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect::<Vec<String>>().into()
    } else {
        value.into()
    };
    let unusable = |error: config::ConfigError| ConfigError::Source { origin: origin.clone(), detail: error.to_string() };
    parse(config::Config::builder().set_override(key, value.clone()).map_err(unusable)?, origin)?;
    all.set_override(key, value).map_err(unusable)
}

fn parse(builder: ConfigBuilder<DefaultState>, origin: &str) -> Result<Config, ConfigError> {
    let refuse = |detail: String| ConfigError::Source { origin: origin.to_owned(), detail };
    let values = builder.build().map_err(|error| refuse(error.to_string()))?;
    serde_path_to_error::deserialize(values).map_err(|error| match error.path().to_string().as_str() {
        "." => refuse(plain(error.inner())),
        path => refuse(format!("{path}: {}", plain(error.inner()))),
    })
}

/// The error without the key that it repeats.
fn plain(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::At { error, .. } => plain(error),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(toml: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("warren.toml");
        std::fs::write(&file, toml).unwrap();
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load(Some(&file), environment, flags).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_means_the_defaults() {
        assert_eq!(load(None, [], Vec::new()).unwrap(), Config::default());
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = "data_dir = \"file\"\n[http]\nmax_requests = 1\nlisten = \"127.0.0.1:1\"\n[store]\noptions = { aws_region = \"mars\" }\n";
        let environment = [("WARREN__DATA_DIR", "env"), ("WARREN__HTTP__MAX_REQUESTS", "2"), ("WARREN_HTTP__INSECURE", "what")];
        let config = from(file, &environment, &[("data_dir", "flag")]).unwrap();
        assert_eq!(config.data_dir.to_str(), Some("flag"));
        assert_eq!(config.http.max_requests.get(), 2);
        assert_eq!(config.http.listen, Some("127.0.0.1:1".parse().unwrap()));
        assert_eq!(config.store.options["aws_region"], "mars");
        assert!(!config.http.insecure, "a name without the double underscore is not read");
    }

    #[test]
    fn lists_are_parted_by_commas_and_texts_stay_texts() {
        let keys = "0123456789abcdef, 1234567890123456";
        let environment = [("WARREN__AUTH__KEYS", keys), ("WARREN__HTTP__HOSTS", "a,b"), ("WARREN__BROKER__URL", "")];
        let config = from("[log]\nlevel = \"debug\"", &environment, &[("data_dir", "007")]).unwrap();
        assert!(config.auth.keys[1].matches("1234567890123456"));
        assert_eq!((config.auth.keys.len(), config.http.hosts.len()), (2, 2));
        assert_eq!(config.data_dir.to_str(), Some("007"));
        assert_eq!(config.broker.url, None, "an empty variable is one that is not set");
    }

    #[test]
    fn an_error_says_where_and_what() {
        for (toml, environment, flags, words) in [
            ("[http]\nlistn = \"x\"", None, None, ["warren.toml", "http", "listn", "listen"]),
            ("colour = 1", None, None, ["warren.toml", "colour", "unknown", "data_dir"]),
            ("[http", None, None, ["warren.toml", "", "", ""]),
            ("", Some(("WARREN__STORE__KEP", "1")), None, ["WARREN__STORE__KEP", "store", "unknown", "keep"]),
            ("", Some(("WARREN__LOG__FORMAT", "xml")), None, ["WARREN__LOG__FORMAT", "log.format", "xml", "json"]),
            ("", Some(("WARREN__HTTP", "x")), None, ["WARREN__HTTP", "http", "", ""]),
            ("", Some(("WARREN__STORE__KEEP", "0")), None, ["WARREN__STORE__KEEP", "store.keep", "0", "nonzero"]),
            ("", None, Some(("http.listen", "here")), ["http.listen", "flag", "here", ""]),
            ("", None, Some(("http.max_requests", "0")), ["http.max_requests", "flag", "0", "nonzero"]),
        ] {
            let error = from(toml, environment.as_slice(), flags.as_slice()).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{error:?} does not say {word:?}");
            }
        }
        let weak = from("", &[("WARREN__AUTH__KEYS", "secret")], &[]).unwrap_err();
        assert!(weak.contains("at least 16") && !weak.contains("secret"), "{weak}");
    }

    #[test]
    fn what_is_printed_can_be_read_again_and_shows_no_secret() {
        let url = "amqp://user:sesame@host:5672/%2f";
        let environment = [("WARREN__BROKER__URL", url), ("WARREN__AUTH__KEYS", "0123456789abcdef")];
        let printed = from("", &environment, &[]).unwrap().to_toml().unwrap();
        assert!(!printed.contains("sesame") && !printed.contains("0123456789abcdef"), "{printed}");
        assert!(printed.contains("keys = [\"[hidden]\"]"), "{printed}");
        let defaults = Config::default().to_toml().unwrap();
        assert_eq!(from(&defaults, &[], &[]).unwrap(), Config::default());
    }
}
