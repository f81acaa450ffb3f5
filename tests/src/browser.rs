//! A browser without a window, driven by WebDriver: the handful of its calls that the tests of the page need.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Program, eventually, http};

/// How long a browser may take for its start, and the page for what it does, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keys that are no letters, as WebDriver writes them.
pub mod keys {
    /// Enter.
    pub const ENTER: &str = "\u{E007}";
    /// Escape.
    pub const ESCAPE: &str = "\u{E00C}";
    /// Arrow up.
    pub const UP: &str = "\u{E013}";
    /// Arrow down.
    pub const DOWN: &str = "\u{E015}";
}

/// Debian's Chromium. Its driver ends it; it ends by itself if the driver is killed.
pub struct Browser {
    driver: Program,
    client: reqwest::Client,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts one with a window of this size in pixels.
    pub async fn start(width: u32, height: u32) -> Result<Self> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let mut driver = Program::spawn("chromedriver", command)?;
        let address = eventually("chromedriver says its port", PATIENCE, async || {
            ensure!(driver.ended()?.is_none(), "chromedriver has ended: {}", driver.said());
            let said = driver.said();
            let (_, rest) = said.split_once("started successfully on port ").with_context(|| said.clone())?;
            let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
            ensure!(rest.len() > port.len(), "half a line: {said}");
            Ok(format!("http://127.0.0.1:{port}/session"))
        })
        .await?;
        let profile = tempfile::tempdir()?;
        let folder = format!("--user-data-dir={}", profile.path().display());
        let size = format!("--window-size={width},{height}");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--remote-debugging-pipe",
            "--force-prefers-reduced-motion",
            &folder,
            &size,
        ];
        let options = json!({"binary": "/usr/bin/chromium", "args": arguments});
        let wanted = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}});
        let client = http::client()?;
        let mut browser = Self { driver, client, session: address.clone(), _profile: profile };
        let started = eventually("Chromium starts", PATIENCE, async || browser.call(Method::POST, "", &wanted).await).await?;
        browser.session = format!("{address}/{}", started["sessionId"].as_str().context("a session")?);
        Ok(browser)
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.session));
        if method == Method::POST {
            request = request.json(body);
        }
        let (status, mut answer) = http::answer(request).await?;
        ensure!(status == 200, "WebDriver {method} {path}: {status}: {answer}");
        Ok(answer["value"].take())
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) -> Result<()> {
        self.call(Method::POST, "/url", &json!({ "url": url })).await.map(drop)
    }

    /// Runs the body of a function in the page, and gives what it returns.
    pub async fn run(&self, script: &str) -> Result<Value> {
        self.call(Method::POST, "/execute/sync", &json!({"script": script, "args": []})).await
    }

    /// Waits until an expression is true in the page; says what the page shows if it never is.
    pub async fn until(&self, expression: &str) -> Result<()> {
        eventually(expression, PATIENCE, async || {
            let value = self.run(&format!("return Boolean({expression});")).await?;
            ensure!(value == true, "the page shows: {}", self.run("return document.body.innerText;").await?);
            Ok(())
        })
        .await
    }

    /// Presses keys one after the other, wherever the focus is.
    pub async fn press(&self, text: &str) -> Result<()> {
        let strokes = text.chars().flat_map(|key| {
            let key = key.to_string();
            [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
        });
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes.collect::<Vec<_>>()}]});
        self.call(Method::POST, "/actions", &actions).await.map(drop)
    }

    /// Clicks on the first element that a CSS selector finds.
    pub async fn click(&self, selector: &str) -> Result<()> {
        let found = self.call(Method::POST, "/element", &json!({"using": "css selector", "value": selector})).await?;
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str).context("an element")?;
        self.call(Method::POST, &format!("/element/{id}/click"), &json!({})).await.map(drop)
    }

    /// Whether pages are to be dark.
    pub async fn prefer_dark(&self, dark: bool) -> Result<()> {
        let value = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        let body = json!({"cmd": "Emulation.setEmulatedMedia", "params": features});
        self.call(Method::POST, "/goog/cdp/execute", &body).await.map(drop)
    }

    /// Another size of the window, in pixels.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        self.call(Method::POST, "/window/rect", &json!({"width": width, "height": height})).await.map(drop)
    }

    /// Ends it.
    pub async fn close(self) -> Result<()> {
        self.call(Method::DELETE, "", &Value::Null).await?;
        drop(self.driver);
        Ok(())
    }
}
