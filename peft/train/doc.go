// Package train trains adapters over a frozen base: Run trains one, Compare several with the same budget, PlanMemory
// says what memory a run will need. A run that is cancelled writes a checkpoint, from which another continues to the
// same bytes.
package train
