//! How `setup` changes files that belong to the person and to other programs.
//!
//! A [`plan`] says what will be changed. [`apply`] carries it out, after making a dated copy of every file. [`backup`]
//! records what was done. [`undo`] makes the plan that takes it back: if a file is still as setup left it, its old
//! bytes are restored; otherwise keyfob's own lines are removed. [`yaml`] changes a kubeconfig in place.

pub mod apply;
pub mod backup;
pub mod files;
pub mod plan;
pub mod undo;
pub mod yaml;
