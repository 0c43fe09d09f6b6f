//! The places of a failed part beside what a good part looks like that is most like them: "looked for this, found that".

use std::sync::Arc;

/// One defect beside the nearest patch of a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestPair {
    /// Number of the defect in the picture of the part, from 1.
    pub defect: usize,
    /// The place on the part, as a JPEG file; the patch is framed.
    pub found: Arc<[u8]>,
    /// The place on the reference, as a JPEG file of the same size.
    pub looked_for: Arc<[u8]>,
    /// Number of the reference, from 1.
    pub reference: usize,
    /// Number of all references.
    pub references: usize,
    /// `(1 - cos) / 2` of both patches: 0 for a match, 1 for the opposite.
    pub distance: f32,
    /// What a person should know of the pair, each half a sentence.
    pub notes: Vec<&'static str>,
}

/// What is known of a part's defects beside the references.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestFound {
    /// `name@revision` of the recipe whose references they are: the one that judged the part.
    pub recipe: String,
    /// The pairs, in the order of the defects.
    pub pairs: Vec<NearestPair>,
    /// Sentences on what a person should know of them.
    pub notes: Vec<String>,
}

/// The answer to the question for a part's nearest references.
#[derive(Debug, Clone, PartialEq)]
pub enum NearestAnswer {
    /// They were looked for: found, or the reason why not, in words.
    Done(Arc<Result<NearestFound, String>>),
    /// They are being looked for; what is under way, in words.
    UnderWay(String),
}
