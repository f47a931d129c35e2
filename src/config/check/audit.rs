//! `[audit]`

use std::path::Path;

use super::{
    super::{problem::Problem, schema::Kind},
    Reader, Reported, Table,
};
use crate::observe::audit::{AuditSettings, Destination};

impl Reader<'_> {
    /// None where no trail is wanted.
    pub(super) fn audit(&mut self, root: &Table<'_>) -> Result<Option<AuditSettings>, Reported> {
        let table = root.table("audit");
        let to = table.get("to", Kind::Text);
        let required = self.flag(&table, "required", false);
        let Some(node) = to else {
            if required != Some(true) {
                return required.map(|_| None).ok_or(Reported);
            }
            self.missing(
                &table,
                "to",
                "to = \"file:/var/log/sidegate/audit.jsonl\", or \"stderr\"",
            );
            return Err(Reported);
        };
        let text = self.text(node, "to").ok_or(Reported)?;
        let to = match text.split_once(':') {
            None if text == "stderr" => Destination::Stderr,
            Some(("file", path)) if !path.is_empty() && !path.ends_with('/') => {
                // It is written, and no cause to read the configuration again.
                let path = self.place_of(path, &node.origin);
                self.warn_of_missing_folder(&path);
                Destination::File(path)
            }
            _ => {
                let problem =
                    Problem::new(&node.origin, format!("`{text}` is no place for the trail"));
                self.problem(problem.hint("\"stderr\", or \"file:/var/log/sidegate/audit.jsonl\""));
                return Err(Reported);
            }
        };
        let required = required.ok_or(Reported)?;
        Ok(Some(AuditSettings { to, required }))
    }

    /// The gate makes the file, and no folder. `check --without-secrets` may run on another machine, which need not have it.
    fn warn_of_missing_folder(&mut self, path: &Path) {
        let folder = path.parent().unwrap_or(path);
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        if self.stand_in.is_none() && !self.describes && !folder.is_dir() {
            self.warnings.push(format!(
                "audit.to: there is no folder {}, and nothing is recorded until there is",
                folder.display()
            ));
        }
    }
}
