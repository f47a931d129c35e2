//! The resulting configuration, section by section.

use super::toml_text::Section;

#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) top: Section,
    pub(super) session: Section,
    pub(super) provider_name: String,
    pub(super) provider: Section,
    pub(super) headers: Section,
    /// Each under its name.
    pub(super) upstreams: Vec<(String, Section)>,
    pub(super) routes: Vec<Section>,
}

impl Draft {
    pub(super) fn text(&self) -> String {
        let mut text = self.top.under("");
        text += &self.session.under("[session]");
        text += &self
            .provider
            .under(&format!("[providers.{}]", self.provider_name));
        text += &self.headers.under("[headers]");
        for (name, upstream) in &self.upstreams {
            text += &upstream.under(&format!("[upstreams.{name}]"));
        }
        for route in &self.routes {
            text += &route.under("[[routes]]");
        }
        text
    }
}
