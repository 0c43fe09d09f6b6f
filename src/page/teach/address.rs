//! Addresses of the screen: what they ask for, and where a form leads back to.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// Address of the screen.
pub const ADDRESS: &str = "/teach";

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    /// Name of the recipe.
    pub recipe: Option<String>,
    /// Camera whose picture is drawn on.
    pub camera: Option<String>,
    /// Pixels of a millimetre on the part.
    pub px_per_mm: Option<String>,
    /// Version of the lesson that a browser has.
    pub since: Option<String>,
}

/// The address of the screen with a recipe.
pub fn address(recipe: &str) -> String {
    let query = serde_html_form::to_string([("recipe", recipe)]);
    format!("{ADDRESS}?{}", query.unwrap_or_default())
}

/// What an address asks for; nothing of a query that cannot be read.
pub fn wanted(query: Option<&str>) -> Wanted {
    serde_html_form::from_str(query.unwrap_or_default()).unwrap_or_default()
}

/// An answer where a template cannot be filled, which it always can.
pub fn fault(error: &askama::Error) -> Response {
    tracing::error!("page: {error} (please report this)");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_any_name() {
        assert_eq!(address("nut & bolt"), "/teach?recipe=nut+%26+bolt");
        let read = wanted(Some("recipe=nut+%26+bolt"));
        assert_eq!(read.recipe.as_deref(), Some("nut & bolt"));
    }
}
