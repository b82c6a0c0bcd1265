package hudson.util;

import java.lang.reflect.Field;

/** Hudson 3.3.2 looks for java.lang.UNIXProcess, gone since Java 9, and then signals nobody; this one uses ProcessHandle. */
class ProcessTree$UnixReflection {
    private static final Field PID_FIELD;

    static {
        try {
            PID_FIELD = Class.forName("java.lang.ProcessImpl").getDeclaredField("pid");
            PID_FIELD.setAccessible(true);
        } catch (ReflectiveOperationException e) {
            throw new LinkageError(e.toString(), e);
        }
    }

    static Field access$300() {
        return PID_FIELD;
    }

    static void destroyProcesses(int pid) {
        ProcessHandle.of(pid).ifPresent(ProcessHandle::destroy);
    }
}
