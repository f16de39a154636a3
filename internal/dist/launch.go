package dist

import (
	"os"
	"strconv"
)

// Launch says what started this process as one of several.
type Launch struct {
	Launcher   string // "": nothing did
	Command    string // of it: what "-n SIZE PROGRAM" can follow
	Rank, Size int    // Size 0: it is not known
}

// launchers are the variables by which launchers tell a process its rank and the number of ranks.
var launchers = []struct{ name, command, rank, size string }{
	{"mpirun of Open MPI", "mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
	{"srun", "srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
	{"mpiexec (Hydra)", "mpiexec", "PMI_RANK", "PMI_SIZE"},
	{"a launcher with PMIx", "mpiexec", "PMIX_RANK", ""},
}

// Launched says what started this process, by its environment.
func Launched() Launch {
	for _, l := range launchers {
		rank, err := strconv.Atoi(os.Getenv(l.rank))
		if err != nil {
			continue
		}
		size, err := strconv.Atoi(os.Getenv(l.size))
		if l.size != "" && err != nil {
			continue // srun's rank is in scripts of sbatch, too
		}
		return Launch{l.name, l.command, rank, size}
	}
	return Launch{}
}
