//! A headless Chromium that a test drives by the DevTools protocol, over a pair of pipes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use weft::lab::Host;

use crate::harness::eventually;

/// Nothing of the browser's own shall go out, and it is root's.
const FLAGS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --window-size=1440,760";

/// A page that is open. The browser ends with this value.
pub(crate) struct Browser {
    child: Child,
    commands: File,
    answers: BufReader<File>,
    session: Option<String>,
    number: u64,
    _directory: tempfile::TempDir,
}

impl Browser {
    /// Opens the page in a browser that runs on the host.
    pub(crate) fn open(host: &Host, url: &str) -> Browser {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for pipe in ["commands", "answers"] {
            nix::unistd::mkfifo(&at(pipe), Mode::S_IRWXU).unwrap();
        }
        let script = format!(
            "exec chromium {FLAGS} --user-data-dir=\"$0/profile\" --remote-debugging-pipe about:blank \
             3<\"$0/commands\" 4>\"$0/answers\""
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(directory.path()).env("HOME", directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = host.spawn(&mut command).unwrap();
        // In the shell's order: each end waits for the other.
        let commands = OpenOptions::new().write(true).open(at("commands")).unwrap();
        let answers = BufReader::new(File::open(at("answers")).unwrap());
        let mut browser = Browser { child, commands, answers, session: None, number: 0, _directory: directory };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].as_str().map(str::to_owned);
        browser.call("Page.enable", json!({}));
        browser.call("Page.navigate", json!({ "url": url }));
        eventually("the page is loaded", || browser.value("document.readyState") == "complete");
        browser
    }

    /// Calls a method and waits for its answer; what else is told meanwhile is not listened to.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            let read = self.answers.read_until(0, &mut answer).unwrap();
            assert!(read > 0, "the browser has ended");
            answer.pop();
            let mut answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.number {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression in the page is true.
    pub(crate) fn wait(&mut self, expression: &str) {
        eventually(expression, || self.value(expression) == true);
    }

    /// Presses a key: `key` as KeyboardEvent calls it, and the text that it writes, if any.
    pub(crate) fn press(&mut self, key: &str, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call(
                "Input.dispatchKeyEvent",
                json!({"type": kind, "key": key, "code": key, "text": if kind == "keyDown" { text } else { "" }}),
            );
        }
    }

    /// Makes the page prefer a colour scheme.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// Writes a picture of what is seen.
    pub(crate) fn picture(&mut self, path: &Path) {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let data = answer["data"].as_str().unwrap();
        std::fs::write(path, base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let close = format!("{}\0", json!({"id": 0, "method": "Browser.close"}));
        // One that has ended by itself does not listen.
        if self.commands.write_all(close.as_bytes()).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
