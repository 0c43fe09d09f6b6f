//! The screens that each screen leads to.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tab {
    /// Title.
    pub title: &'static str,
    /// Address.
    pub address: &'static str,
}

const fn tab(title: &'static str, address: &'static str) -> Tab {
    Tab { title, address }
}

/// All of them, in their order.
pub const TABS: &[Tab] = &[
    tab("Live", "/"),
    tab("Rejects", "/rejects"),
    tab("False rejects", "/false-rejects"),
    tab("Teach", "/teach"),
    tab("Shift check", "/shift-check"),
    tab("Camera and lens", "/lens"),
    tab("Counters", "/counters"),
    tab("Recipes", "/recipes"),
    tab("Health", "/health"),
    tab("Users", "/users"),
];
