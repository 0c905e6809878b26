// OpenSSL asks the processor for its abilities before main(), and each of these questions leaves a virtual machine for its host:
// a twentieth of an agent's life, for what most agents have no use for. Its own start asks once more, so the first time nothing
// is done. (The linker's --wrap brings both calls here.)
extern "C" void __real_OPENSSL_cpuid_setup();

extern "C" void __wrap_OPENSSL_cpuid_setup() {
  static bool started = false;
  if (started) __real_OPENSSL_cpuid_setup();
  started = true;
}
