//! The only entry: file and environment become a configuration, or a report.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{
    Config, Environment, Report,
    check::Reader,
    differing, env, mask,
    problem::{Origin, Problem, Problems},
    tree,
};
use crate::{random, secret::Secret};

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "sidegate.toml";

/// A configuration without problems.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration itself.
    pub config: Config,
    /// What works, but the operator should know; each a sentence for the log.
    pub warnings: Vec<String>,
    /// The files that it came from: its own, those of secrets, certificates and authorities.
    pub files: Vec<PathBuf>,
    /// Secrets that are not here, each a sentence; none where all must be here.
    pub absent: Vec<String>,
}

/// Reads `file`, or [`DEFAULT_FILE`] where none is named, and lays the environment over it. The default
/// file may be missing where the environment configures something.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Loaded, Report> {
    read(file, environment, None)
}

/// As [`load`], on a machine that need not have the secrets, as one that checks a change before it goes anywhere. What
/// comes out is to look at, and not to serve with: something that nobody knows stands in for each secret that is not here.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load_without_secrets(
    file: Option<&Path>,
    environment: &Environment,
) -> Result<Loaded, Report> {
    let stand_in = Secret::new(URL_SAFE_NO_PAD.encode(random::bytes::<32>()));
    read(file, environment, Some(&stand_in))
}

fn read(
    file: Option<&Path>,
    environment: &Environment,
    stand_in: Option<&Secret>,
) -> Result<Loaded, Report> {
    let mut path = file.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_path_buf);
    let source = match std::fs::read_to_string(&path) {
        Ok(source) => Zeroizing::new(source),
        Err(error) => {
            let is_missing = error.kind() == ErrorKind::NotFound;
            if is_missing && file.is_none() && env::says_anything(environment) {
                path = PathBuf::from("environment");
                Zeroizing::default()
            } else {
                return Err(unreadable(&path, &error));
            }
        }
    };
    let mut root = match tree::parse(&source) {
        Ok(root) => root,
        Err(problems) => return Err(Report::new(&path, &source, None, problems.into())),
    };
    let keys = Reader::describe();
    let mut problems = Problems::default();
    env::overlay(&mut root, &keys, environment, &mut problems);
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut reader = Reader::new(environment, stand_in, folder, problems);
    reader.files.push(path.clone());
    match reader.check(&root, &keys, &random::bytes()) {
        Some(config) => Ok(Loaded {
            config,
            warnings: reader.warnings,
            files: reader.files,
            absent: reader.absent,
        }),
        None => Err(Report::new(
            &path,
            &source,
            mask::mask(&source, &keys),
            reader.problems,
        )),
    }
}

/// The keys that two files that load say differently, with the same environment over both; see [`differing`].
pub fn differing_keys(
    old: Option<&Path>,
    new: Option<&Path>,
    environment: &Environment,
) -> Vec<String> {
    let keys = Reader::describe();
    let written = |file: Option<&Path>| {
        let file = file.unwrap_or_else(|| Path::new(DEFAULT_FILE));
        // Where there is no file, the environment says everything.
        let source = Zeroizing::new(std::fs::read_to_string(file).unwrap_or_default());
        let mut root = tree::parse(&source).ok()?;
        env::overlay(&mut root, &keys, environment, &mut Problems::default());
        Some(root)
    };
    match (written(old), written(new)) {
        (Some(old), Some(new)) => differing::keys(&old, &new),
        _ => Vec::new(),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Report {
    let (why, hint) = match error.kind() {
        ErrorKind::NotFound => (
            "there is no such file",
            "name one with -c FILE, or set SIDEGATE_ variables; `sidegate --help` shows the smallest file",
        ),
        ErrorKind::PermissionDenied => ("this user may not read it", "see its owner and mode"),
        ErrorKind::IsADirectory => ("it is a folder", "name the file in it"),
        ErrorKind::InvalidData => ("it is not UTF-8 text", "a configuration is a TOML file"),
        _ => ("it cannot be read", "see whether it is a plain file"),
    };
    let message = format!("cannot read the configuration: {why}");
    let mut problems = Problems::default();
    problems.add(Problem::new(&Origin::Nowhere, message).hint(hint));
    Report::new(path, "", None, problems)
}
