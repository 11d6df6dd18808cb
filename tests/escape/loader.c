/* Stands in a hostile image where the system's program loader is expected: whoever executes the host's interpreter
 * inside that box runs this instead, and it tries to write to what was executed. Uses no library: it is the loader.
 */
static long call(long number, const void *first, long second, long third) {
	long result;
#if defined(__x86_64__)
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number, x1 __asm__("x1") = second, x2 __asm__("x2") = third;
	register const void *x0 __asm__("x0") = first;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	result = (long)x0;
#endif
	return result;
}

#if defined(__x86_64__)
enum { OPEN_TO_WRITE = 2, READ_LINK = 89, WRITE = 1, EXIT = 231 };
static long open_to_write(const char *path) { return call(OPEN_TO_WRITE, path, 1, 0); }
static long read_link(const char *path, char *room, long size) { return call(READ_LINK, path, (long)room, size); }
#elif defined(__aarch64__)
enum { WRITE = 64, EXIT = 94 };
static long open_to_write(const char *path) { return call(56, (void *)-100L, (long)path, 1); }
static long read_link(const char *path, char *room, long size) {
	(void)path, (void)room, (void)size;
	return 0;
}
#endif

void _start(void) {
	static char room[256];
	long length = read_link("/proc/self/exe", room, sizeof room);
	if (length > 0)
		call(WRITE, (void *)2, (long)room, length);
	long opened = open_to_write("/proc/self/exe");
	call(EXIT, (void *)(opened < 0 ? -opened : 0), 0, 0);
}
