import org.junit.Test
import static org.junit.Assert.*

class DeployTest extends Declarative {
    static final FILE = 'jenkins/deploy/Jenkinsfile'
    static final RELEASE = '{"id": "staging.shop.v7", "status": "deployed"}'
    static final HOSTILE = 'a"b\'c $(id) `id` ${HOME}\nnext ]]> \uD83D\uDE00'

    Map deploy(Map given = [:]) {
        env.putAll([JOB_BASE_NAME: 'shop-deploy', BUILD_NUMBER: '7'])
        files['deployed.json'] = RELEASE
        run(FILE, [VERSION: '1.4.2', NAMESPACE: 'staging'] + given)
    }
    List<String> shell() { did('sh')*.arg }
    void failing(String command) {
        onStep = { n, a -> if (n == 'sh' && a.contains(command)) throw new RuntimeException('exit status 6') }
    }

    @Test void deploysTheVersionToTheNamespace() {
        deploy()
        assertEquals('SUCCESS', result)
        assertEquals(['Check', 'Deploy'], ran)
        assertEquals(['VERSION', 'NAMESPACE', 'ENVIRONMENT', 'NOTE', 'OP_ID'], model.parameters.calls.collect { it.args[0].name })
        assertEquals(['withCredentials', 'sh', 'archiveArtifacts', 'readJSON'], steps*.name)
        assertEquals('shop', did('sh')[0].env.NAME)
        assertEquals('deployed.json', did('archiveArtifacts')[0].arg.artifacts)
        assertEquals('#7 1.4.2 to staging', currentBuild.displayName.toString())
        assertEquals('staging.shop.v7 is 1.4.2', currentBuild.description.toString())
        leave('deploy')
    }
    @Test void waitsWithoutExecutorAndWithTimeouts() {
        deploy([NAMESPACE: 'production'])
        assertEquals('none', model.agent)
        assertTrue(model.options.names().containsAll(['disableConcurrentBuilds', 'buildDiscarder', 'skipDefaultCheckout']))
        assertEquals([time: 30, unit: 'MINUTES'], model.stageOptions.Deploy.arg('timeout'))
        assertEquals([time: 1, unit: 'HOURS'], model.stageOptions.Approve.arg('timeout'))
    }
    @Test void listedNamespaceAsksForApproval() {
        env.putAll([KUBERNAUT_APPROVAL: 'payments, production', KUBERNAUT_APPROVERS: 'ada,bob'])
        deploy(NAMESPACE: 'production')
        assertEquals(['Check', 'Approve', 'Deploy'], ran)
        def asked = did('input')[0].arg
        assertTrue(['shop', '1.4.2', 'production'].every { asked.message.contains(it) })
        assertEquals('ada,bob', asked.submitter.toString())
        assertEquals([], did('input')[0].credentials)
    }
    @Test void otherNamespaceNeedsNoApproval() {
        env.KUBERNAUT_APPROVAL = 'payments, production'
        deploy(NAMESPACE: 'product')
        assertEquals(['Check', 'Deploy'], ran)
    }
    @Test void listedEnvironmentAsksForApproval() {
        env.KUBERNAUT_APPROVAL = 'production'
        deploy(ENVIRONMENT: 'production')
        assertEquals(['Check', 'Approve', 'Deploy'], ran)
        assertEquals('', did('input')[0].arg.submitter.toString())
    }
    @Test void parametersCannotDisableTheApproval() {
        env.KUBERNAUT_APPROVAL = 'production'
        deploy(NAMESPACE: 'production', KUBERNAUT_APPROVAL: '')
        assertEquals(1, did('input').size())
    }
    @Test void refusedApprovalDeploysNothing() {
        env.KUBERNAUT_APPROVAL = 'production'
        onStep = { n, a -> if (n == 'input') throw new Aborted('no') }
        deploy(NAMESPACE: 'production')
        assertEquals('ABORTED', result)
        assertEquals(['input'], steps*.name)
    }
    @Test void namespaceSelectsItsCredential() {
        deploy(ENVIRONMENT: 'production')
        assertEquals([[id: 'docker-config', kind: 'file', variable: 'DOCKER_CONFIG_JSON'],
                      [id: 'kubeconfig-production', kind: 'file', variable: 'KUBECONFIG']], did('withCredentials')[0].arg)
    }
    @Test void serverReplacesTheKubeconfigByAToken() {
        env.KUBERNAUT_SERVER = 'https://kubernaut.example.com'
        deploy()
        assertEquals(['docker-config', 'kubernaut-token'], did('sh')[0].credentials)
        assertEquals('KUBERNAUT_TOKEN_FILE', did('withCredentials')[0].arg[1].variable)
    }
    @Test void commitStatusesNeedTheAdministratorsToken() {
        env.KUBERNAUT_GITHUB = 'true'
        deploy()
        assertEquals([id: 'github-token', kind: 'string', variable: 'KUBERNAUT_GITHUB_TOKEN'], did('withCredentials')[0].arg[2])
    }
    @Test void secretsAreBoundToTheCommandOnly() {
        env.KUBERNAUT_GITHUB = 'true'
        failing('kubernaut deploy')
        deploy(NOTE: HOSTILE)
        did('sh').each { assertEquals(Declarative.SECRET + 'KUBECONFIG', it.env.KUBECONFIG) }
        assertFalse(steps.findAll { it.name != 'sh' && it.credentials }.any())
        assertFalse('a secret in a step\'s arguments', steps*.arg.toString().contains(SECRET))
        assertFalse('a secret is left', env.toString().contains(SECRET))
    }
    @Test void parametersAreNotPartOfCommands() {
        deploy(NOTE: HOSTILE)
        def plain = shell()
        setUp()
        deploy()
        assertEquals(shell(), plain)
    }
    @Test void missingParametersFailBeforeTheDeploy() {
        for (bad in [[VERSION: ''], [NAMESPACE: ''], [NAMESPACE: 'Bad Name'], [NAMESPACE: '--help'], [NAMESPACE: 'a\n'],
                     [NAMESPACE: '../x'], [ENVIRONMENT: '../production'], [ENVIRONMENT: ' production']]) {
            setUp()
            deploy(bad)
            assertEquals(bad.toString(), 'FAILURE', result)
            assertEquals(bad.toString(), ['error'], steps*.name)
        }
    }
    @Test void failureShowsTheCurrentRelease() {
        failing('kubernaut deploy')
        deploy()
        assertEquals('FAILURE', result)
        assertEquals(['Check', 'Deploy'], ran)
        assertTrue(shell()[1].contains('kubernaut show "$NAME" -n "$NAMESPACE" || true'))
        assertTrue(shell()[1].contains('kubernaut history'))
        assertEquals([], did('archiveArtifacts'))
        leave('deploy-failed')
    }
    @Test void failureReportCannotFailItself() {
        onStep = { n, a -> if (n == 'sh') throw new RuntimeException('no kubernaut at all') }
        deploy()
        assertEquals('no kubernaut at all', model.failed.message)
        assertEquals([], postErrors)
        setUp()
        missing << 'kubeconfig-staging'
        deploy()
        assertEquals('no credentials kubeconfig-staging', model.failed.message)
        assertEquals([], postErrors)
    }
    @Test void abortPrintsAMessage() {
        onStep = { n, a -> if (n == 'sh') throw new Aborted('stopped') }
        deploy()
        assertEquals('ABORTED', result)
        assertEquals(1, shell().size())
        assertEquals(1, did('echo').size())
    }
}
