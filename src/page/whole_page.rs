//! The whole page of a screen that changes by itself.

use super::form_page::Layout;
use super::screen::{Fragment, ScreenName};
use askama::Template;

/// A whole page.
#[derive(Template)]
#[template(path = "page.html")]
pub struct WholePage<'a> {
    /// What all screens show around their body.
    pub layout: &'a Layout,
    /// The screen.
    pub screen: ScreenName,
    /// Version of the fragments.
    pub version: u64,
    /// Fragments.
    pub fragments: Vec<&'a Fragment>,
}
