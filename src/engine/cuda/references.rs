//! The references of a recipe on the device: galleries, masks and the unit vectors of its words.

use super::device::Device;
use super::kernels::nearest::GalleryRows;
use super::memory::Buffer;
use super::scoring::{LanguagePlan, Prototypes, ScoringPlan};
use super::tower::upload;
use crate::engine::EngineError;
use crate::engine::device_scorer::{ReferenceBank, TextReferences};
use crate::engine::network::Precision;
use ndarray::ArrayView2;

/// Reference banks, loaded.
#[derive(Default)]
pub struct LoadedReferences {
    /// Scores that are wanted of every crop; `None` without banks.
    pub plan: Option<ScoringPlan>,
    /// The patches of each bank that count; `None` means all.
    masks: Vec<Option<Vec<bool>>>,
    /// Index of the first bank with the same mask, for each bank.
    first_alike: Vec<usize>,
    /// Unit vectors of the words, `[E]` each.
    words: Option<[Vec<f32>; 2]>,
    /// The same vectors on the device, f32 `[2, E]`.
    prototypes: Option<Buffer>,
    /// The gallery of each map of each bank.
    galleries: Vec<Vec<LoadedGallery>>,
    /// The looks of known bad parts of each bank; `None` for a bank without.
    looks: Vec<Option<LoadedGallery>>,
}

/// Unit rows of one gallery, REAL `[rows, width]`.
struct LoadedGallery {
    buffer: Buffer,
    rows: usize,
}

impl LoadedReferences {
    /// Copies the banks to the device. All banks of a recipe want the same scores.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room.
    pub fn new(
        device: &Device,
        precision: Precision,
        banks: &[ReferenceBank],
    ) -> Result<Self, EngineError> {
        let mut loaded = LoadedReferences::default();

        // Banks with equal masks share their windows: only the first of them is named in the kind
        // of a run, so that their runs are shared too.
        for bank in banks {
            let mask = bank.mask.map(<[bool]>::to_vec);
            let known = loaded.masks.iter().position(|known| *known == mask);
            let own = loaded.masks.len();
            loaded.first_alike.push(known.unwrap_or(own));
            loaded.masks.push(mask);

            // The rows of a gallery are uploaded in the precision of the features that they are
            // compared with.
            let mut galleries = vec![];

            for (_, rows) in &bank.galleries {
                galleries.push(LoadedGallery::new(device, precision, rows)?);
            }

            loaded.galleries.push(galleries);
            let looks = bank.looks.as_ref();
            let looks = looks.map(|rows| LoadedGallery::new(device, precision, rows));
            loaded.looks.push(looks.transpose()?);
        }

        // Plan and words are the same for all banks of a recipe, so that the first speaks for all.
        // The prototypes are f32 `[2, E]`, normal before anomalous.
        if let Some(first) = banks.first() {
            let mut plan = plan_of(first);

            // A crop may have no looks where another has some.
            plan.compares_looks = loaded.looks.iter().any(Option::is_some);
            loaded.plan = Some(plan);

            if let Some(words) = &first.text {
                loaded.prototypes = Some(device.buffer_of(&words.prototypes.concat())?);
                loaded.words = Some(words.prototypes.clone());
            }
        }

        Ok(loaded)
    }

    /// True when runs that were captured with these references stay valid with `other`: only the
    /// galleries may differ.
    pub fn serves_runs_of(&self, other: &LoadedReferences) -> bool {
        self.plan == other.plan && self.masks == other.masks && self.words == other.words
    }

    /// Takes over the device memory of the same prototypes.
    pub fn take_prototypes(&mut self, other: &mut LoadedReferences) {
        self.prototypes = other.prototypes.take();
    }

    /// Unit vectors of the words on the device.
    pub fn prototypes(&self) -> Prototypes<'_> {
        self.prototypes.as_ref()
    }

    /// Index of the first bank with the same mask, for each of `banks`; `None` for an unknown bank.
    pub fn first_alike(&self, banks: &[usize]) -> Vec<Option<usize>> {
        banks
            .iter()
            .map(|bank| self.first_alike.get(*bank).copied())
            .collect()
    }

    /// The mask of each of `banks`.
    pub fn masks(&self, banks: &[usize]) -> Vec<Option<&[bool]>> {
        banks
            .iter()
            .map(|bank| self.masks[*bank].as_deref())
            .collect()
    }

    /// Galleries by map, one for each of `banks`, then the looks where the plan compares with them; empty without
    /// references.
    pub fn galleries(&self, banks: &[usize]) -> Vec<Vec<GalleryRows>> {
        // Galleries are turned round: stored by bank, wanted by map with one entry a crop, as the
        // kernels' tables are.
        let Some(plan) = &self.plan else {
            return vec![];
        };

        // The order is that in which `Scoring` makes its comparisons.
        let mut galleries = vec![];

        for map in 0..plan.maps.len() {
            let of_map = banks.iter().map(|bank| self.galleries[*bank][map].rows());
            galleries.push(of_map.collect());
        }

        if let Some(patch) = plan.patch_map().filter(|_| plan.compares_looks) {
            let looks = banks.iter().map(|bank| self.looks_of(*bank, patch).rows());
            galleries.push(looks.collect());
        }

        galleries
    }

    /// The looks of a bank. One without any is compared with its good parts in their place: no patch is
    /// nearer to those than to themselves, so that nothing is raised.
    fn looks_of(&self, bank: usize, patch: usize) -> &LoadedGallery {
        // A table of galleries has an entry for each crop.
        let looks = self.looks[bank].as_ref();

        looks.unwrap_or(&self.galleries[bank][patch])
    }
}

impl LoadedGallery {
    fn new(
        device: &Device,
        precision: Precision,
        rows: &ArrayView2<f32>,
    ) -> Result<Self, EngineError> {
        // The buffer holds REAL `[rows, width]`, two or four bytes a value.
        let buffer = Buffer::new(&device.context, rows.len() * precision.bytes())?;
        upload(device, &buffer, precision, rows.iter().copied())?;
        Ok(LoadedGallery {
            buffer,
            rows: rows.nrows(),
        })
    }

    fn rows(&self) -> GalleryRows {
        GalleryRows {
            address: self.buffer.address(),
            rows: self.rows as i32,
            unused: 0,
        }
    }
}

fn plan_of(bank: &ReferenceBank) -> ScoringPlan {
    ScoringPlan {
        language: bank.text.as_ref().map(language_plan),
        maps: bank.galleries.iter().map(|(map, _)| *map).collect(),
        compares_looks: bank.looks.is_some(),
        mean: bank.window_mean,
    }
}

fn language_plan(words: &TextReferences) -> LanguagePlan {
    LanguagePlan {
        temperature: words.temperature,
        map: words.map,
        scales: words.scales.clone(),
        image: words.image,
    }
}
