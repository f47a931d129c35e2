//! Redis scripts: what Redis does in one step, and how a script is run.
//!
//! A script is sent by its hash, and in full if the server does not know it. A command whose answer was lost is sent again. So each script
//! may run twice; where the second run changes something, the script says so.

use std::sync::LazyLock;

use redis::{Cmd, Script};

/// A script, and its text for servers that have not seen it.
pub(crate) struct Known {
    pub(crate) text: &'static str,
    pub(crate) script: LazyLock<Script>,
}

impl Known {
    /// The script by its hash.
    pub(crate) fn by_hash(&self) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script.get_hash());
        command
    }

    /// The script whole.
    pub(crate) fn whole(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.text);
        command
    }
}

macro_rules! known {
    ($text:expr) => {
        $crate::redis::script::Known {
            text: $text,
            script: std::sync::LazyLock::new(|| ::redis::Script::new($text)),
        }
    };
}

pub(crate) use known;
