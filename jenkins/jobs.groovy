// An example for the plugin Job DSL, and was not run by a Jenkins: the two jobs that `kubernaut jenkins setup` makes, for servers
// whose jobs are written down. Compiled and compared with those by tests/unit/jenkins/test_jenkinsfiles.py.
def application = 'hello-world'
def repository = 'https://github.com/example/hello-world.git'

pipelineJob("${application}-release") {
    description('A commit becomes a published version.')
    parameters {
        stringParam('NAMESPACE', 'staging', 'where the version is deployed first; empty: nowhere')
        stringParam('APP_DIR', '.', 'the application\'s folder in the repository')
        stringParam('OP_ID', '', 'names this request; a build of the same name is not started twice')
    }
    properties {
        disableConcurrentBuilds()
        pipelineTriggers { triggers { githubPush() } }
    }
    definition {
        cpsScm {
            scm { git { remote { url(repository) }; branch('main') } }
            scriptPath('jenkins/release/Jenkinsfile')
        }
    }
}

pipelineJob("${application}-deploy") {
    description('A published version becomes a release in a namespace.')
    parameters {
        stringParam('VERSION', '', 'the published version')
        stringParam('NAMESPACE', '', 'where to')
        stringParam('ENVIRONMENT', '', 'whose packaged values; empty: those of the namespace\'s name')
        stringParam('NOTE', '', 'a line for the history: why')
        stringParam('OP_ID', '', 'names this request; a build of the same name is not started twice')
    }
    properties {
        disableConcurrentBuilds()
    }
    definition {
        cpsScm {
            scm { git { remote { url(repository) }; branch('main') } }
            scriptPath('jenkins/deploy/Jenkinsfile')
        }
    }
}
