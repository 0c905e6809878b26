// Of FreeBSD's <sys/sysctl.h>, what platform/system/freebsd.cpp asks for.
#pragma once

#include <stddef.h>

#define CTL_KERN 1
#define KERN_PROC 14
#define KERN_PROC_PID 1

extern "C" int sysctl(const int* name, unsigned count, void* old, size_t* old_size, const void* fresh, size_t fresh_size);
