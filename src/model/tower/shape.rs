//! Numbers that a tower's blocks need beside their weights.

/// Activation of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// GELU, exact, with the error function.
    Gelu,
    /// `x sigmoid(1.702 x)`: OpenAI's weights.
    QuickGelu,
}

/// Parameters of a tower's blocks beside their weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TowerShape {
    /// Width of the tokens.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Activation of the MLPs.
    pub activation: Activation,
    /// Epsilon of the layer norms.
    pub epsilon: f32,
}
