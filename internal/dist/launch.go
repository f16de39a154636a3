package dist

import (
	"os"
	"strconv"
)

// Launch says what started this process as one of several.
type Launch struct {
	Launcher   string // "": nothing did
	Rank, Size int    // Size 0: it is not known
}

func (l Launch) by() bool { return l.Launcher != "" }

// launchers are the variables by which launchers tell a process its rank and the number of ranks.
var launchers = []struct{ name, rank, size string }{
	{"mpirun of Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
	{"mpiexec (Hydra)", "PMI_RANK", "PMI_SIZE"},
	{"a launcher with PMIx", "PMIX_RANK", ""},
	{"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
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
		return Launch{l.name, rank, size}
	}
	return Launch{}
}
