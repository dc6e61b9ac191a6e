//! How `setup` changes files that belong to the person and to other programs.
//!
//! A [`plan`] says what is going to be changed; [`apply`] does it, after a dated copy of every file; [`backup`] keeps what
//! was done; [`undo`] makes the plan that takes it back: if a file is still as setup left it, its former bytes come back,
//! else keyfob's own lines are taken out. [`yaml`] changes a kubeconfig in place.

pub mod apply;
pub mod backup;
pub mod files;
pub mod plan;
pub mod undo;
pub mod yaml;
