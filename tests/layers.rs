//! Imports run one way: from what is built of others to what it is built of. `layers.txt` lists the folders from the
//! leaves up; an import from a lower line of it to an upper one is fine, the other way fails. So do files of one folder
//! that import each other in a circle. What only tests import does not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Item, UseTree, Visibility, visit::Visit};

type Segments = Vec<String>;

/// What one file says.
#[derive(Default)]
struct Module {
    /// Names that it defines.
    defined: BTreeSet<String>,
    /// Names that it brings in, and from where.
    imported: BTreeMap<String, Segments>,
    /// Paths that it uses, as they are written; those of re-exports are not among them.
    used: Vec<Segments>,
    /// Modules that are there for tests alone.
    test_modules: BTreeSet<String>,
}

struct Sources(BTreeMap<Segments, Module>);

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

/// Every leaf of a `use`: its path, and the name that it has here.
fn leaves(tree: &UseTree, before: &Segments, into: &mut Vec<(Segments, String)>) {
    let with = |name: String| {
        let mut path = before.clone();
        path.push(name);
        path
    };
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &with(path.ident.to_string()), into),
        UseTree::Name(name) if name.ident == "self" => {
            into.push((before.clone(), before.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => into.push((with(name.ident.to_string()), name.ident.to_string())),
        UseTree::Rename(rename) => {
            into.push((with(rename.ident.to_string()), rename.rename.to_string()));
        }
        UseTree::Glob(_) => into.push((before.clone(), "*".to_owned())),
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, before, into);
            }
        }
    }
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Mod(item) => item.ident.to_string(),
        _ => return None,
    })
}

impl Module {
    fn read(source: &str) -> Self {
        let file = syn::parse_file(source).expect("Rust");
        let mut module = Self::default();
        for item in &file.items {
            if let Item::Mod(inner) = item
                && is_for_tests(&inner.attrs)
            {
                module.test_modules.insert(inner.ident.to_string());
            }
            module.defined.extend(name_of(item));
            module.visit_item(item);
        }
        module
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            _ => return syn::visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        leaves(&item.tree, &Vec::new(), &mut found);
        let is_handed_on = !matches!(item.vis, Visibility::Inherited);
        for (path, name) in found {
            if !is_handed_on {
                self.used.push(path.clone());
            }
            self.imported.insert(name, path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Segments = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        let is_rooted = segments
            .first()
            .is_some_and(|first| matches!(first.as_str(), "crate" | "self" | "super"));
        if is_rooted && segments.len() > 1 {
            self.used.push(segments);
        }
        syn::visit::visit_path(self, path);
    }
}

impl Sources {
    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        collect(root, &mut files);
        let mut modules = BTreeMap::new();
        for file in files {
            let source = fs::read_to_string(&file).expect("readable");
            let relative = file.strip_prefix(root).expect("below").with_extension("");
            let mut path: Segments = relative
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            if path.last().is_some_and(|last| last == "mod") {
                path.pop();
            }
            if path == ["lib"] {
                path.clear();
            }
            modules.insert(path, Module::read(&source));
        }
        let tests: Vec<Segments> = modules
            .iter()
            .flat_map(|(path, module)| {
                let tests = module.test_modules.iter();
                tests.map(|name| [path.as_slice(), std::slice::from_ref(name)].concat())
            })
            .collect();
        modules.retain(|path, _| !tests.iter().any(|test| path.starts_with(test)));
        Self(modules)
    }

    /// The file in which what `path`, as `from` writes it, names is defined.
    fn resolve(&self, from: &Segments, path: &[String], depth: usize) -> Option<Segments> {
        let mut at = from.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => (at, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|first| first == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            // A crate, or what is in scope.
            _ => return None,
        }
        loop {
            let Some(next) = rest.first() else {
                return Some(at);
            };
            let child = [at.as_slice(), std::slice::from_ref(next)].concat();
            if self.0.contains_key(&child) {
                (at, rest) = (child, &rest[1..]);
                continue;
            }
            let module = self.0.get(&at)?;
            if !module.defined.contains(next)
                && depth < 8
                && let Some(source) = module.imported.get(next)
            {
                return self.resolve(&at, source, depth + 1);
            }
            return Some(at);
        }
    }

    /// Who imports whom.
    fn arrows(&self) -> BTreeSet<(Segments, Segments)> {
        let mut arrows = BTreeSet::new();
        for (from, module) in &self.0 {
            for path in &module.used {
                let to = self.resolve(from, path, 0);
                arrows.extend(to.filter(|to| to != from).map(|to| (from.clone(), to)));
            }
        }
        arrows
    }
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn layers() -> Vec<String> {
    include_str!("layers.txt")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn faults_of_layers(arrows: &BTreeSet<(Segments, Segments)>, layers: &[String]) -> Vec<String> {
    let place = |path: &Segments| {
        let folder = path.first()?;
        layers.iter().position(|layer| layer == folder)
    };
    let mut faults = Vec::new();
    for (from, to) in arrows {
        if from.is_empty() || to.is_empty() {
            continue;
        }
        match (place(from), place(to)) {
            (Some(from_place), Some(to_place)) if to_place > from_place => faults.push(format!(
                "{} imports {}, which stands below it in layers.txt",
                from.join("/"),
                to.join("/")
            )),
            (None, _) => faults.push(format!("{} is not in layers.txt", from.join("/"))),
            _ => {}
        }
    }
    faults
}

/// The two rooms of one folder, at whatever depth, that an arrow leads between; none where it leads to or from a folder's face,
/// which hands its parts on, and whose parts use what it defines.
fn siblings(from: &Segments, to: &Segments) -> Option<(Segments, Segments)> {
    let fork = from.iter().zip(to).position(|(one, other)| one != other)?;
    // What leads between folders of the root is the layers' to say.
    (fork > 0).then(|| (from[..=fork].to_vec(), to[..=fork].to_vec()))
}

/// Rooms of one folder that import each other in a circle.
fn circles(arrows: &BTreeSet<(Segments, Segments)>) -> Vec<String> {
    let mut next: BTreeMap<Segments, BTreeSet<Segments>> = BTreeMap::new();
    for (from, to) in arrows {
        if let Some((from, to)) = siblings(from, to) {
            next.entry(from).or_default().insert(to);
        }
    }
    let mut found = BTreeSet::new();
    for start in next.keys() {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![start.clone()];
        while let Some(room) = waiting.pop() {
            for to in next.get(&room).into_iter().flatten() {
                if to == start {
                    found.insert(start.join("/"));
                }
                if seen.insert(to.clone()) {
                    waiting.push(to.clone());
                }
            }
        }
    }
    found.into_iter().collect()
}

#[test]
fn imports_run_one_way() {
    let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let arrows = sources.arrows();
    assert!(arrows.len() > 400, "{} imports found", arrows.len());
    let faults = faults_of_layers(&arrows, &layers());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    let circles = circles(&arrows);
    assert!(circles.is_empty(), "in a circle: {}", circles.join(", "));
}

#[test]
fn an_import_that_runs_up_and_a_circle_are_found() {
    let module = |text: &str| Module::read(text);
    let path = |text: &str| text.split('/').map(str::to_owned).collect::<Segments>();
    let sources = Sources(BTreeMap::from([
        (Vec::new(), module("pub mod low; pub mod high;")),
        (
            path("low"),
            module("pub mod a; mod b; pub use self::b::Thing;"),
        ),
        (
            path("low/a"),
            module("use super::Thing; use crate::high; #[cfg(test)] mod tests {}"),
        ),
        (path("low/b"), module("pub struct Thing(super::a::Other);")),
        (path("high"), module("use crate::low::Thing; mod deep;")),
        (path("high/deep"), module("mod c; mod d;")),
        (path("high/deep/c"), module("use super::d::One;")),
        (path("high/deep/d"), module("use super::c::Other;")),
    ]));
    let arrows = sources.arrows();
    let layers = ["low".to_owned(), "high".to_owned()];
    assert_eq!(
        faults_of_layers(&arrows, &layers),
        ["low/a imports high, which stands below it in layers.txt"]
    );
    assert_eq!(
        circles(&arrows),
        ["high/deep/c", "high/deep/d", "low/a", "low/b"]
    );
}
