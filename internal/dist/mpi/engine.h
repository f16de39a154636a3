// What the engine has to do in C: MPI's constants are macros, and waiting in small pieces is done here.
#include <mpi.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static MPI_Comm world(void) { return MPI_COMM_WORLD; }
static MPI_Request no_request(void) { return MPI_REQUEST_NULL; }

// begin starts MPI with one thread that calls it, and has errors returned.
static int begin(MPI_Comm *control) {
	int provided, rc = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
	if (rc != MPI_SUCCESS) return rc;
	MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
	return MPI_Comm_dup(MPI_COMM_WORLD, control);
}

// Numbers of bytes of n ranks, from send and receive sizes, with their displacements, in memory that lives as long as
// the operation: 4n ints.
static int *sizes_of(int n, const int *send, const int *recv) {
	int *all = malloc(4 * n * sizeof(int));
	if (all == NULL) return NULL;
	int from = 0, to = 0;
	for (int i = 0; i < n; i++) {
		all[i] = send != NULL ? send[i] : 0;
		all[n + i] = from, from += all[i];
		all[2 * n + i] = recv[i];
		all[3 * n + i] = to, to += recv[i];
	}
	return all;
}

static int all_to_all(MPI_Comm c, int n, void *send, void *recv, int *sizes, MPI_Request *req) {
	return MPI_Ialltoallv(send, sizes, sizes + n, MPI_BYTE, recv, sizes + 2 * n, sizes + 3 * n, MPI_BYTE, c, req);
}

static int all_gather(MPI_Comm c, int n, int size, void *send, void *recv, int *sizes, MPI_Request *req) {
	return MPI_Iallgatherv(send, size, MPI_BYTE, recv, sizes + 2 * n, sizes + 3 * n, MPI_BYTE, c, req);
}

static int broadcast(MPI_Comm c, void *data, int size, MPI_Request *req) {
	return MPI_Ibcast(data, size, MPI_BYTE, 0, c, req);
}

// post sends a small message from memory of its own, which is freed with the request.
static int post(MPI_Comm c, int to, int tag, const void *data, int size, void **copy, MPI_Request *req) {
	*copy = malloc(size + 1);
	if (*copy == NULL) return MPI_ERR_NO_MEM;
	memcpy(*copy, data, size);
	return MPI_Isend(*copy, size, MPI_BYTE, to, tag, c, req);
}

// take receives a small message that is there. *from is -1 where none is.
static int take(MPI_Comm c, int *from, int *tag, void *data, int most, int *size) {
	int there = 0;
	MPI_Status st;
	*from = -1;
	int rc = MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, c, &there, &st);
	if (rc != MPI_SUCCESS || !there) return rc;
	rc = MPI_Recv(data, most, MPI_BYTE, st.MPI_SOURCE, st.MPI_TAG, c, &st);
	*from = st.MPI_SOURCE, *tag = st.MPI_TAG;
	MPI_Get_count(&st, MPI_BYTE, size);
	return rc;
}

static int64_t micros(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

// MPICH's headers say how long an array of statuses is, and gcc takes the constant for none at all for a short one.
#pragma GCC diagnostic ignored "-Wstringop-overflow"

// progress tests requests until one has ended, *wake is set, or the time is over. It sleeps a little between tests,
// because the processors have other work, but not in the first microseconds.
static int progress(int n, MPI_Request *reqs, int *ended, int *count, int *wake, int busy, int most) {
	struct timespec pause = {0, 30000};
	int64_t start = micros();
	for (;;) {
		int rc = MPI_Testsome(n, reqs, count, ended, MPI_STATUSES_IGNORE);
		if (rc != MPI_SUCCESS) return rc;
		if (*count == MPI_UNDEFINED) *count = 0;
		if (*count > 0 || __atomic_exchange_n(wake, 0, __ATOMIC_SEQ_CST)) return MPI_SUCCESS;
		int64_t gone = micros() - start;
		if (gone > most) return MPI_SUCCESS;
		if (gone > busy) nanosleep(&pause, NULL);
	}
}

static void set_wake(int *wake) { __atomic_store_n(wake, 1, __ATOMIC_SEQ_CST); }
