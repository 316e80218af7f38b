//! Buffers that an operation in flight uses while a handle owns them.

use crate::types::Element;
use std::mem::{ManuallyDrop, MaybeUninit};

/// A buffer whose elements stay where they are when it is moved.
///
/// # Safety
/// `elements` must return the same memory as long as the value lives, wherever it is moved to, and nothing else may read or write
/// that memory meanwhile but through the value.
pub unsafe trait StableBuffer<T>: Send + 'static {
    /// The elements, at the same address at every call.
    fn elements(&mut self) -> &mut [T];
}

// SAFETY: a vector's elements are on the heap, and its own.
unsafe impl<T: Element> StableBuffer<T> for Vec<T> {
    fn elements(&mut self) -> &mut [T] {
        self
    }
}

// SAFETY: a box's elements are on the heap, and its own.
unsafe impl<T: Element> StableBuffer<T> for Box<[T]> {
    fn elements(&mut self) -> &mut [T] {
        self
    }
}

/// Buffers that an operation uses through their addresses, wherever this value is moved meanwhile.
///
/// Moving a `Box` asserts that nothing else has an address inside it: the compiler may take reads and writes through the addresses
/// that the operation holds to be somewhere else. What is in a `MaybeUninit` may be anything, so that moving it asserts nothing.
/// The addresses are taken from the value when it is in here already, and it comes out when the operation is over.
pub struct Lent<B>(MaybeUninit<B>);

impl<B> Lent<B> {
    pub fn new(buffers: B) -> Lent<B> {
        Lent(MaybeUninit::new(buffers))
    }

    /// To take the addresses from, before the operation begins.
    pub fn get_mut(&mut self) -> &mut B {
        // SAFETY: it holds a value from `new` until `give_back` or `drop` consumes it.
        unsafe { self.0.assume_init_mut() }
    }

    /// The buffers, of an operation that is over.
    pub fn give_back(self) -> B {
        let lent = ManuallyDrop::new(self);
        // SAFETY: it holds a value, which is read once: `lent` is not dropped.
        unsafe { lent.0.assume_init_read() }
    }
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        // SAFETY: it holds a value, and is used no more.
        unsafe { self.0.assume_init_drop() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn elements_stay_and_are_dropped_once() {
        let mut lent = Lent::new((vec![1u32; 5], vec![7u32; 9].into_boxed_slice()));
        let (vector, boxed) = lent.get_mut();
        let (in_vector, in_box) = (vector.elements().as_mut_ptr(), boxed.elements().as_mut_ptr());
        let moved = Box::new(lent);
        // SAFETY: the elements of both are where they were, and nobody else uses them.
        unsafe {
            *in_vector.add(4) = 2;
            *in_box.add(8) = 3;
        }
        let (vector, boxed) = moved.give_back();
        assert_eq!((vector[4], boxed[8], vector[0], boxed[0]), (2, 3, 1, 7));

        let counted = Arc::new(());
        drop(Lent::new(counted.clone()));
        assert_eq!(Arc::strong_count(&counted), 1);
        let back = Lent::new(counted.clone()).give_back();
        assert_eq!(Arc::strong_count(&back), 2);
    }
}
