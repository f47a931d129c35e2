//! `[users]`: names and passwords.

use std::{fs, sync::Arc};

use super::{
    super::{
        problem::Problem,
        schema::{Kind, Names},
        tree::Node,
    },
    Reader, Reported, Table,
};
use crate::{
    provider::settings::ProviderSettings,
    users::{
        Htpasswd,
        settings::{USERS, UsersSettings},
    },
};

impl Reader<'_> {
    /// None where there are none.
    pub(super) fn users(
        &mut self,
        root: &Table<'_>,
        providers: Option<&[ProviderSettings]>,
    ) -> Result<Option<UsersSettings>, Reported> {
        let table = root.table("users");
        let file = table.get("htpasswd", Kind::Text);
        let groups = table.map("groups", Names::Plain, Kind::Texts);
        let Some(node) = file else {
            if groups.is_empty() {
                return Ok(None);
            }
            self.missing(&table, "htpasswd", "htpasswd = \"/etc/sidegate/htpasswd\"");
            return Err(Reported);
        };
        let groups = self.groups(groups);
        let htpasswd = self.htpasswd(&table, node);
        let mut providers = providers.unwrap_or_default().iter();
        if providers.any(|provider| provider.name == USERS) {
            let origin = root.origin("users");
            self.problem(
                Problem::new(
                    &origin,
                    "[providers.users] and [users] would be the same people to the app",
                )
                .hint("give the provider another name"),
            );
            return Err(Reported);
        }
        let (htpasswd, groups) = (htpasswd.ok_or(Reported)?, groups.ok_or(Reported)?);
        for (group, members) in &groups {
            for member in members
                .iter()
                .filter(|member| !htpasswd.is_empty() && !htpasswd.knows(member))
            {
                self.warnings.push(format!(
                    "users.groups.{group} names {member:?}, and the htpasswd file does not"
                ));
            }
        }
        Ok(Some(UsersSettings {
            htpasswd: Arc::new(htpasswd),
            groups,
        }))
    }

    fn groups(&mut self, entries: &[(String, Node)]) -> Option<Vec<(String, Vec<String>)>> {
        let read = entries.iter().map(|(group, node)| {
            let members = self.list(node, group)?;
            let members = members.iter().map(|member| member.text.to_owned());
            Some((group.clone(), members.collect()))
        });
        let read: Vec<_> = read.collect();
        read.into_iter().collect()
    }

    fn htpasswd(&mut self, table: &Table<'_>, node: &Node) -> Option<Htpasswd> {
        let path = self.text(node, "htpasswd")?;
        let path = self.resolve(path, &node.origin);
        let text = match fs::metadata(&path) {
            Ok(file) if file.len() > LARGEST => {
                let message = format!("{} has more than 4 MiB", path.display());
                self.problem(Problem::new(&node.origin, message).hint("is it the right file?"));
                return None;
            }
            _ => fs::read_to_string(&path),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                self.unreadable(node, &table.whole("htpasswd"), &path, &error);
                self.stand_in?;
                return Some(Htpasswd::default());
            }
        };
        let read = Htpasswd::read(&text).map_err(|flaw| {
            let message = format!("line {} of {} is no user", flaw.line, path.display());
            Problem::new(&node.origin, message).hint(flaw.why)
        });
        let read = self.found(read)?;
        if read.is_empty() {
            self.warnings.push(format!(
                "nobody is in {}: all passwords are refused",
                path.display()
            ));
        }
        Some(read)
    }
}

/// Bytes of the htpasswd file.
const LARGEST: u64 = 4 * 1024 * 1024;
