//! What is said of calls, by number.

use std::sync::RwLock;

/// Bounded, however many different calls are made: a number is given again once its call is retired and nobody speaks of it.
#[derive(Default)]
pub struct Texts(RwLock<Vec<Text>>);

#[derive(Clone, Debug)]
pub struct Text {
    /// Name of the collective.
    pub operation: &'static str,
    /// With type, count and the rest.
    pub call: String,
    retired: bool,
}

impl Texts {
    /// A number for a call. `spoken_of` are numbers that must keep their meaning although their calls are retired.
    pub fn register(&self, operation: &'static str, call: String, spoken_of: impl Iterator<Item = u32>) -> u32 {
        let mut texts = self.0.write().expect("no panic under this lock");
        let mut free: Vec<bool> = texts.iter().map(|text| text.retired).collect();
        for number in spoken_of {
            // Slots that were never written speak of number 0, which is merely kept a while longer.
            if let Some(free) = free.get_mut(number as usize) {
                *free = false;
            }
        }
        let text = Text { operation, call, retired: false };
        match free.iter().position(|free| *free) {
            Some(number) => {
                texts[number] = text;
                number as u32
            }
            None => {
                texts.push(text);
                (texts.len() - 1) as u32
            }
        }
    }

    /// The call will not be made under this number any more.
    pub fn retire(&self, number: u32) {
        self.0.write().expect("no panic under this lock")[number as usize].retired = true;
    }

    pub fn get(&self, number: u32) -> Option<Text> {
        self.0.read().expect("no panic under this lock").get(number as usize).cloned()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.read().expect("no panic under this lock").len()
    }
}
