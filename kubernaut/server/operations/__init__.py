"""Operations on this server: accepted once, executed by workers, followed by clients, recovered after a crash."""
