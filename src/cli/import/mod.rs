//! `sidegate import oauth2-proxy`: translates its configuration. Pure, except for the given function that reads files.
//!
//! Every option is translated, listed as not needed, or listed as without equivalent, with what to do instead. A restriction that cannot be
//! expressed here lets nobody in.

mod allow;
mod alpha;
mod apps;
mod draft;
mod duration;
mod given;
mod glob;
mod headers;
mod model;
mod notes;
mod options;
mod place;
mod provider;
mod redis;
mod session;
#[cfg(test)]
mod tests;
mod toml_text;
mod variables;
mod yaml;

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use alpha::Alpha;
use draft::Draft;
use given::{Flags, Given, PREFIX, Place};
pub use notes::Notes;
use options::Rule;

use crate::config::Environment;

/// How a file is read.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// All that oauth2-proxy would be started with.
pub struct Question<'a> {
    /// Its configurations: one of options (TOML), one alpha (YAML), or both.
    pub files: &'a [PathBuf],
    /// Its command line.
    pub arguments: &'a [String],
    /// Its environment.
    pub environment: &'a Environment,
    /// A session secret for where it has none that would do.
    pub fresh_secret: &'a str,
}

/// What comes of it.
pub struct Translation {
    /// The configuration, with the notes as comments at its top.
    pub toml: String,
    /// What is to be said beside it.
    pub notes: Notes,
}

/// Translates.
///
/// # Errors
/// Everything that is no option of oauth2-proxy's or cannot be read, each in a sentence, without values.
pub fn oauth2_proxy(
    question: &Question<'_>,
    read: ReadFile<'_>,
) -> Result<Translation, Vec<String>> {
    let mut errors = Vec::new();
    let mut notes = Notes::default();
    let flags = given::flags(question.arguments, &mut errors);
    let documents = documents(question, &flags, read, &mut errors);
    let mut given = gather(question, flags, &documents, &mut errors);
    let mut alphas = documents.iter().filter(|document| document.is_alpha);
    let alpha = alphas.next().map(|document| {
        for refused in given.make_room_for_alpha() {
            errors.push(format!(
                "{refused} belongs into the alpha configuration, and oauth2-proxy refuses both: take it out of one"
            ));
        }
        let Document { name, content, .. } = document;
        let environment = question.environment;
        alpha::read(
            name, content, environment, &mut given, &mut notes, &mut errors,
        )
    });
    for Document { name, .. } in alphas {
        errors.push(format!(
            "{name} is a second alpha configuration, and there is one at most"
        ));
    }
    let has_variables = question
        .environment
        .keys()
        .any(|name| name.starts_with(PREFIX));
    if documents.is_empty() && question.arguments.is_empty() && !has_variables && errors.is_empty()
    {
        errors.push(
            "nothing is given: name oauth2-proxy's configuration, or its command line after --args, or set its variables"
                .to_owned(),
        );
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let toml = translate(&given, alpha, question, read, &mut notes, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Translation {
        toml: commented(&toml, &notes),
        notes,
    })
}

/// A file, and what is in it.
struct Document {
    name: String,
    content: String,
    is_alpha: bool,
}

/// The files that were named, in a file's place or by a flag.
fn documents(
    question: &Question<'_>,
    flags: &Flags,
    read: ReadFile<'_>,
    errors: &mut Vec<String>,
) -> Vec<Document> {
    let named = question
        .files
        .iter()
        .map(|file| (file.clone(), is_yaml(file)));
    let config = flags.config.iter().map(|file| (PathBuf::from(file), false));
    let alpha = flags
        .alpha_config
        .iter()
        .map(|file| (PathBuf::from(file), true));
    let mut documents = Vec::new();
    for (file, is_alpha) in named.chain(config).chain(alpha) {
        let name = file.display().to_string();
        match read(&file) {
            Ok(content) => documents.push(Document {
                name,
                content,
                is_alpha,
            }),
            Err(error) => errors.push(format!("{name} cannot be read: {error}")),
        }
    }
    documents
}

/// The options of all files, the environment and the flags, in the order in which they count.
fn gather(
    question: &Question<'_>,
    flags: Flags,
    documents: &[Document],
    errors: &mut Vec<String>,
) -> Given {
    let mut options = Vec::new();
    for Document { name, content, .. } in documents.iter().filter(|document| !document.is_alpha) {
        let found = given::file(name, content, errors);
        options.extend(
            found
                .into_iter()
                .map(|(peer, raw)| (peer, raw, Place::File)),
        );
    }
    let found = given::variables(question.environment, errors);
    options.extend(
        found
            .into_iter()
            .map(|(peer, raw, name)| (peer, raw, Place::Variable(name))),
    );
    let found = flags.options.into_iter();
    options.extend(found.map(|(peer, raw)| (peer, raw, Place::Flag)));
    let mut given = Given::default();
    for (peer, raw, place) in options {
        errors.extend(given.put(peer, raw, place).err());
    }
    given
}

fn is_yaml(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml")
    })
}

fn translate(
    given: &Given,
    alpha: Option<Alpha>,
    question: &Question<'_>,
    read: ReadFile<'_>,
    notes: &mut Notes,
    errors: &mut Vec<String>,
) -> String {
    let is_alpha = alpha.is_some();
    let alpha = alpha.unwrap_or_else(|| {
        let (request_headers, answer_headers) = model::headers(given);
        Alpha {
            apps: model::apps(given),
            request_headers,
            answer_headers,
            ..Alpha::default()
        }
    });
    fixed(given, notes);
    let mut draft = Draft::default();
    let place = place::translate(given, &mut draft, notes, is_alpha);
    let parameters = &alpha.login_parameters;
    let provider = provider::translate(given, parameters, &place, &mut draft, notes, errors);
    let Some(provider) = provider else {
        return String::new();
    };
    let any = allow::translate(given, &provider, read, &mut draft, notes, errors);
    let (apps, raw_path) = (&alpha.apps, alpha.raw_path);
    apps::translate(given, apps, raw_path, &any, &place, &mut draft, notes);
    let (requests, answers) = (&alpha.request_headers, &alpha.answer_headers);
    headers::translate(given, requests, answers, provider.user, &mut draft, notes);
    session::translate(
        given,
        read,
        question.fresh_secret,
        &place,
        &mut draft,
        notes,
    );
    draft.text()
}

/// Options of which the list says all there is to say.
fn fixed(given: &Given, notes: &mut Notes) {
    for peer in given.each() {
        let label = given.label(peer.key);
        match peer.rule {
            Rule::Translated => {}
            Rule::Needless(why) => notes.needless(&label, why),
            Rule::Absent { harmless, .. } if given.is_harmless(peer.key, harmless) => {
                notes.needless(
                    &label,
                    "no key is needed for this value: the gate always works like that",
                );
            }
            Rule::Absent { instead, .. } => notes.absent(&label, instead),
        }
    }
}

/// The configuration under what is to be said of it.
fn commented(toml: &str, notes: &Notes) -> String {
    let mut text = String::from(
        "# From oauth2-proxy, by `sidegate import oauth2-proxy`. `sidegate check -c FILE` sums it up.\n",
    );
    for (title, sentences) in notes.lists() {
        _ = writeln!(text, "#\n# {}:", capitalised(title));
        for sentence in sentences {
            _ = writeln!(text, "# - {sentence}");
        }
    }
    text + "\n" + toml
}

fn capitalised(title: &str) -> String {
    let (first, rest) = title.split_at(1);
    first.to_ascii_uppercase() + rest
}
