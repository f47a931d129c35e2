//! Reads a file of names and hashes, as `htpasswd` writes it. Pure.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordVerifier as _};

use crate::{credential::Opener, rate_limit, session::revocation::Target};

/// Names and the hashes of their passwords.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Htpasswd {
    /// By the name: the place of the hash.
    users: HashMap<String, usize>,
    hashes: Vec<Hash>,
}

/// A hash that is slow to guess at.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bcrypt,
    Argon2,
}

/// Never shows the hash.
impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.kind)
    }
}

/// A line that is no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub why: &'static str,
}

impl Htpasswd {
    /// Reads `text`.
    ///
    /// # Errors
    /// The first line that is no user.
    pub fn read(text: &str) -> Result<Self, Flaw> {
        let mut read = Self::default();
        for (place, line) in text.lines().enumerate() {
            let line_text = line.trim_end();
            if line_text.is_empty() || line_text.starts_with('#') {
                continue;
            }
            let flaw = |why| Flaw {
                line: place + 1,
                why,
            };
            let (name, hash) = line_text
                .split_once(':')
                .ok_or_else(|| flaw("a line is NAME:HASH, as htpasswd -B writes it"))?;
            if name.is_empty() || name.len() > LONGEST_NAME || name.contains(char::is_control) {
                return Err(flaw(
                    "a name has 1 to 255 bytes, none of them a control character",
                ));
            }
            let hash = Hash::read(hash).map_err(flaw)?;
            let place = read.hashes.len();
            read.hashes.push(hash);
            if read.users.insert(name.to_owned(), place).is_some() {
                return Err(flaw(
                    "the name is there twice, so it is unclear which password counts",
                ));
            }
            if read.users.len() > MOST_USERS {
                return Err(flaw(
                    "no more than 10,000 names; let the others sign in at a provider",
                ));
            }
        }
        Ok(read)
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether `name` is in it.
    pub fn knows(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    /// What names the password of `name` when it ends.
    pub fn opener(&self, name: &str) -> Option<Opener> {
        let hash = &self.hashes[*self.users.get(name)?];
        Some(Opener::Configured(hash.id(name)))
    }

    /// What is open by any of the passwords.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        let users = self.users.iter();
        users.map(|(name, place)| Target::configured(self.hashes[*place].id(name)))
    }

    /// Whether `password` is `name`'s. Slow: not for a thread that serves.
    ///
    /// A name that is not there is checked against somebody's hash all the same, the same one each time: so neither how long
    /// it takes nor whether that changes says who is there, whatever the costs of the hashes are.
    pub fn verify(&self, name: &str, password: &str) -> bool {
        if let Some(place) = self.users.get(name) {
            return self.hashes[*place].verify(password);
        }
        if let Some(decoy) = self.decoy(name) {
            decoy.verify(password);
        }
        false
    }

    /// The hash that stands in for that of a name that is not there.
    fn decoy(&self, name: &str) -> Option<&Hash> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let count = u64::try_from(self.hashes.len()).ok()?;
        let place = hasher.finish().checked_rem(count)?;
        self.hashes.get(usize::try_from(place).ok()?)
    }
}

impl Hash {
    fn read(text: &str) -> Result<Self, &'static str> {
        let kind = if let Some(rest) = ["$2y$", "$2b$", "$2a$"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
        {
            check_bcrypt(rest)?;
            Kind::Bcrypt
        } else if text.starts_with("$argon2") {
            check_argon2(text)?;
            Kind::Argon2
        } else {
            return Err(UNKNOWN_HASH);
        };
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }

    fn id(&self, name: &str) -> [u8; 16] {
        rate_limit::Key::of(&[b"password", name.as_bytes(), self.text.as_bytes()]).0
    }

    fn verify(&self, password: &str) -> bool {
        match self.kind {
            // Of more than 72 bytes bcrypt reads the first 72, as `htpasswd` does.
            Kind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Kind::Argon2 => PasswordHash::new(&self.text).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            }),
        }
    }
}

/// `COST$SALT-AND-HASH`, behind the version.
fn check_bcrypt(rest: &str) -> Result<(), &'static str> {
    let (cost, encoded) = rest.split_once('$').ok_or(NO_BCRYPT)?;
    let is_encoded = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    if encoded.len() != 53 || !encoded.bytes().all(is_encoded) || cost.len() != 2 {
        return Err(NO_BCRYPT);
    }
    match cost.parse::<u32>() {
        Ok(cost) if (5..=MOST_COST).contains(&cost) => Ok(()),
        Ok(_) => Err("its bcrypt cost is not from 5 to 15: make it anew with htpasswd -B -C 12"),
        Err(_) => Err(NO_BCRYPT),
    }
}

fn check_argon2(text: &str) -> Result<(), &'static str> {
    let hash = PasswordHash::new(text).map_err(|_| NO_ARGON2)?;
    let is_known = Algorithm::try_from(hash.algorithm).is_ok();
    if !is_known || hash.salt.is_none() || hash.hash.is_none() {
        return Err(NO_ARGON2);
    }
    let params = Params::try_from(&hash).map_err(|_| NO_ARGON2)?;
    if params.m_cost() > MOST_KIBIBYTES || params.t_cost() > MOST_PASSES {
        return Err("its argon2 asks for more than 256 MiB or 16 passes: make it anew with less");
    }
    Ok(())
}

const UNKNOWN_HASH: &str = "its hash is neither bcrypt ($2y$) nor argon2 ($argon2id$): make it anew with htpasswd -B; plain \
    text, MD5, SHA-1 and crypt are guessed at too fast";
const NO_BCRYPT: &str = "its bcrypt hash is cut off or mistyped: make it anew with htpasswd -B";
const NO_ARGON2: &str =
    "its argon2 hash is no PHC string, as in $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH";

/// Bytes of a name of the htpasswd file.
const LONGEST_NAME: usize = 255;
/// Names in the htpasswd file.
const MOST_USERS: usize = 10_000;
/// The cost of a bcrypt hash: some two seconds.
const MOST_COST: u32 = 15;
/// Memory that an argon2 hash may ask for, in KiB.
const MOST_KIBIBYTES: u32 = 256 * 1024;
/// Passes that an argon2 hash may ask for.
const MOST_PASSES: u32 = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of `secret`, with the least cost.
    fn bcrypt() -> String {
        bcrypt::hash("secret", 5).unwrap()
    }

    #[test]
    fn a_password_is_its_names_alone() {
        let argon = "$argon2id$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$";
        let ada = bcrypt();
        let text = format!(
            "# people\n\nada:{ada}\nbob:{}\n",
            bcrypt::hash("other", 5).unwrap()
        );
        let users = Htpasswd::read(&text).unwrap();
        assert!(users.verify("ada", "secret"));
        for (name, password) in [
            ("ada", "other"),
            ("bob", "secret"),
            ("Ada", "secret"),
            ("eve", "secret"),
            ("ada", ""),
        ] {
            assert!(!users.verify(name, password), "{name} {password}");
        }
        assert!(!format!("{users:?}").contains(&ada[7..]));
        assert!(Htpasswd::read(&format!("ada:{argon}")).is_err());
    }

    #[test]
    fn every_version_of_bcrypt_is_read() {
        let hash = bcrypt();
        for version in ["$2y$", "$2b$", "$2a$"] {
            let text = format!("ada:{version}{}", &hash[4..]);
            assert!(
                Htpasswd::read(&text).unwrap().verify("ada", "secret"),
                "{version}"
            );
        }
    }

    /// Made by argon2's own tool: `echo -n password | argon2 somesalt -t 2 -m 8 -p 1 -id -e`.
    #[test]
    fn argon2_is_read() {
        let text = format!("ada:{ARGON2}");
        let users = Htpasswd::read(&text).unwrap();
        assert!(users.verify("ada", "password"));
        assert!(!users.verify("ada", "Password"));
    }

    const ARGON2: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn what_is_guessed_at_fast_is_refused_by_its_line() {
        let hash = bcrypt();
        let costly = format!("$2y$20${}", &hash[7..]);
        let cheap = format!("$2y$04${}", &hash[7..]);
        for hash in [
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00",
            "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
            "$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g.",
            "rqXexS6ZhobKA",
            "secret",
            "",
            "$2y$12$short",
            &costly,
            &cheap,
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$broken",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ",
            "$argon2x$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        ] {
            let flaw = Htpasswd::read(&format!("# a comment\nada:{hash}")).unwrap_err();
            assert_eq!(flaw.line, 2, "{hash}");
        }
        for text in ["ada", ":x", &format!("ada:{hash}\nada:{hash}")] {
            assert!(Htpasswd::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_that_is_not_there_costs_what_somebodys_hash_costs() {
        let hash = bcrypt();
        let lines: Vec<_> = (0..20)
            .map(|number| format!("user{number}:{hash}"))
            .collect();
        let text = lines.join("\n");
        let users = Htpasswd::read(&text).unwrap();
        assert!(users.decoy("mallory").is_some());
        assert_eq!(users.decoy("mallory"), users.decoy("mallory"));
        // Whatever their password is, they are not in.
        assert!(!users.verify("mallory", "secret"));
        let nobody = Htpasswd::default();
        assert!(nobody.decoy("mallory").is_none() && !nobody.verify("mallory", ""));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = Htpasswd::read(&text);
            let _ = Htpasswd::read(&format!("ada:$2y${text}"));
            let _ = Htpasswd::read(&format!("ada:$argon2id$v=19${text}"));
        }
    }
}
